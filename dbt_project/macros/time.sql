{# The instant the models speak for, as a timestamptz literal. #}
{% macro as_of() -%}
    {%- set instant = var('as_of') or run_started_at.astimezone(modules.pytz.utc).isoformat() -%}
    cast('{{ instant }}' as timestamptz)
{%- endmacro %}

{# Since when something said of a record was known: since it was received, and what is said of the future since that has come. #}
{% macro known_since(relation='') -%}
    greatest({{ relation }}occurred_at, {{ relation }}received_at)
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

{# What clocks of a zone show at an instant, a timestamp without zone, by the pinned database (decision 0016); null for a zone that has none
   and outside 1970 to 2070. DuckDB's `at time zone` asks another release: here it is for 'UTC' alone. #}
{% macro local_time(instant, time_zone) -%}
    (
        select max(({{ instant }} at time zone 'UTC') + to_seconds(pinned.offset_seconds))
        from {{ ref('time_zone_offsets') }} as pinned
        where pinned.time_zone = {{ time_zone }} and pinned.valid_from_at <= {{ instant }} and {{ instant }} < pinned.valid_to_at
    )
{%- endmacro %}

{# The instant at which clocks of a zone show a local time (fold=0 of PEP 495). #}
{% macro instant_of_local_time(local_time, time_zone) -%}
    (
        select max(({{ local_time }} - to_seconds(pinned.offset_seconds)) at time zone 'UTC')
        from {{ ref('time_zone_offsets') }} as pinned
        where pinned.time_zone = {{ time_zone }} and pinned.local_from <= {{ local_time }} and {{ local_time }} < pinned.local_to
    )
{%- endmacro %}
