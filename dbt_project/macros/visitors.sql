{# Browsers a batch tells of, kept for the models behind, also for the next attempt when this one dies before they have run. #}
{% macro gather_visitors_seen() %}
    {% if not execute %}{{ return('') }}{% endif %}
    {% set activities = ref('int_activities__unioned') %}
    {% do run_query('create table if not exists ' ~ visitors_seen() ~ ' (visitor_key ubigint, since varchar)') %}
    {% do run_query('delete from ' ~ visitors_seen() ~ (" where since <> '" ~ var('since') ~ "'" if is_incremental() else '')) %}
    {% if is_incremental() %}
        {% do run_query(
            'insert into ' ~ visitors_seen() ~ " select visitor_key, '" ~ var('since') ~ "' as since from ("
            ~ 'select unnest([visitor_key, former_visitor_key]) as visitor_key from ' ~ activities ~ ' where ' ~ is_new()
            ~ ' union select visitor_key from ' ~ activities ~ ' where ' ~ has_come('occurred_at') ~ ') where visitor_key is not null'
        ) %}
    {% endif %}
{% endmacro %}

{% macro visitors_seen() -%}
    intermediate.visitors_seen
{%- endmacro %}

{% macro visitors_seen_by_batch() -%}
    select visitor_key from {{ visitors_seen() }} where since = '{{ var("since") }}'
{%- endmacro %}

{# Incremental strategy of the sightings: those of every browser the batch tells of go, also where none comes back. #}
{% macro get_incremental_replace_sightings_sql(arg_dict) %}
    {%- set columns = arg_dict['dest_columns'] | map(attribute='quoted') | join(', ') -%}
    delete from {{ arg_dict['target_relation'] }} where visitor_key in ({{ visitors_seen_by_batch() }});
    insert into {{ arg_dict['target_relation'] }} ({{ columns }})
    select {{ columns }} from {{ arg_dict['temp_relation'] }}
{% endmacro %}

{# Browsers whose person may be another one after the batch: those it tells of, and those that were seen with somebody it resolved. #}
{% macro gather_visitors_mapped() %}
    {% if not execute or not is_incremental() %}{{ return('') }}{% endif %}
    {% do run_query(
        'create or replace table ' ~ visitors_mapped() ~ ' as ' ~ visitors_seen_by_batch() ~ ' union select visitor_key from '
        ~ ref('int_identity__sightings') ~ ' where record_key in (' ~ records_resolved_by_batch() ~ ')'
    ) %}
{% endmacro %}

{% macro visitors_mapped() -%}
    intermediate.visitors_mapped
{%- endmacro %}

{# Incremental strategy of entity_map: the rows of whoever comes are replaced, and a browser that is nobody's any more goes. #}
{% macro get_incremental_replace_mapped_sql(arg_dict) %}
    {%- set columns = arg_dict['dest_columns'] | map(attribute='quoted') | join(', ') -%}
    delete from {{ arg_dict['target_relation'] }} where record_key in (select record_key from {{ arg_dict['temp_relation'] }});
    delete from {{ arg_dict['target_relation'] }} where record_key in (select visitor_key from {{ visitors_mapped() }});
    insert into {{ arg_dict['target_relation'] }} ({{ columns }})
    select {{ columns }} from {{ arg_dict['temp_relation'] }};
    drop table {{ visitors_mapped() }}
{% endmacro %}
