{# Incremental strategy: rows of everything the batch touched go, and what the model selects for them comes. Plain delete+insert would keep
   rows of people that no longer have any (merged away, erased). The key and the list of touched keys come from the model's config. #}
{% macro get_incremental_replace_touched_sql(arg_dict) %}
    {%- set columns = arg_dict['dest_columns'] | map(attribute='quoted') | join(', ') -%}
    {%- set key = config.require('unique_key') -%}
    delete from {{ arg_dict['target_relation'] }}
    where {{ key }} in (
        select {{ key }} from {{ ref('int_batch__touched_people') }}
    );
    insert into {{ arg_dict['target_relation'] }} ({{ columns }})
    select {{ columns }} from {{ arg_dict['temp_relation'] }}
{% endmacro %}

{# Restricts a model to what the batch touched; a full refresh takes everybody. #}
{% macro where_touched(column='person_id') -%}
    {%- if is_incremental() -%}
    {{ column }} in (select person_id from {{ ref('int_batch__touched_people') }})
    {%- else -%}
    true
    {%- endif -%}
{%- endmacro %}
