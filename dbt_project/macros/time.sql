{# The instant the models speak for, as a timestamptz literal. #}
{% macro as_of() -%}
    {%- set instant = var('as_of') or run_started_at.astimezone(modules.pytz.utc).isoformat() -%}
    cast('{{ instant }}' as timestamptz)
{%- endmacro %}

{# True for rows landed since the last completed transform. Compared as text: load ids are epoch seconds of equal length. #}
{% macro is_new(load_id='load_id') -%}
    {{ load_id }} > '{{ var("since") }}'
{%- endmacro %}

{# Greatest load id a model holds, asked while it is rendered: compared with a constant, a scan leaves out what came before. #}
{% macro newest_load() -%}
    {%- if execute and is_incremental() -%}
    {{ return(run_query('select coalesce(max(load_id), \'\') from ' ~ this).columns[0].values()[0]) }}
    {%- endif -%}
    {{ return('') }}
{%- endmacro %}

{# True for what was still ahead at the last completed transform and is not any more. #}
{% macro has_come(instant) -%}
    {%- if var('since_as_of') -%}
    ({{ instant }} > cast('{{ var("since_as_of") }}' as timestamptz) and {{ instant }} <= {{ as_of() }})
    {%- else -%}
    false
    {%- endif -%}
{%- endmacro %}

{# dlt may leave rows of a load that died; only loads it closed count (reliability: "dbt reads completed loads only"). #}
{% macro is_complete(source_name) -%}
    _dlt_load_id in (
        select load_id from {{ source(source_name, '_dlt_loads') }} where status = 0
    )
{%- endmacro %}

{% macro seconds_between(earlier, later) -%}
    {{ return(adapter.dispatch('seconds_between')(earlier, later)) }}
{%- endmacro %}
{% macro default__seconds_between(earlier, later) -%}
    (epoch_us({{ later }}) - epoch_us({{ earlier }})) / 1e6
{%- endmacro %}

{% macro instant_of(text) -%}
    {{ return(adapter.dispatch('instant_of')(text)) }}
{%- endmacro %}
{% macro default__instant_of(text) -%}
    try_cast({{ text }} as timestamptz)
{%- endmacro %}
