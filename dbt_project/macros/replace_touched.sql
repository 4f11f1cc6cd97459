{# Incremental strategy: rows of everybody the batch touched go, and what the model selects for them comes. Plain delete+insert would keep
   rows of people that no longer have any (merged away, erased). The key comes from the model's config. #}
{% macro get_incremental_replace_touched_sql(arg_dict) %}
    {{ replace_rows_of(arg_dict, people_touched_by_batch()) }}
{% endmacro %}

{# The same for models that only a pass over everything makes: it catches up with the batches of decisions since the last one. #}
{% macro get_incremental_replace_touched_since_pass_sql(arg_dict) %}
    {{ replace_rows_of(arg_dict, people_touched_since_pass()) }}
{% endmacro %}

{# The same for models that follow the assignments too: dealing somebody a lead can change whose turn others have. #}
{% macro get_incremental_replace_decided_sql(arg_dict) %}
    {{ replace_rows_of(arg_dict, people_decided_on()) }}
{% endmacro %}

{% macro people_reassigned() -%}
    intermediate.people_reassigned
{%- endmacro %}

{% macro people_decided_on() -%}
    {{ people_touched_by_batch() }}
    union
    select person_id from {{ people_reassigned() }} where since = '{{ var("since") }}'
{%- endmacro %}

{% macro replace_rows_of(arg_dict, people) %}
    {%- set columns = arg_dict['dest_columns'] | map(attribute='quoted') | join(', ') -%}
    {%- set key = config.require('unique_key') -%}
    delete from {{ arg_dict['target_relation'] }}
    where {{ key }} in ({{ people }});
    insert into {{ arg_dict['target_relation'] }} ({{ columns }})
    select {{ columns }} from {{ arg_dict['temp_relation'] }}
{% endmacro %}

{% macro people_touched_by_batch() -%}
    select person_id from {{ ref('int_batch__touched_people') }}
{%- endmacro %}

{# ops.people_touched is kept by the transform beside its own state, in the same transaction. #}
{% macro people_touched_since_pass() -%}
    {{ people_touched_by_batch() }} union select person_id from ops.people_touched
{%- endmacro %}

{# Restricts a model to what was touched; a full refresh takes everybody. #}
{% macro where_touched(column='person_id') -%}
    {%- if not is_incremental() -%}
    true
    {%- elif config.get('incremental_strategy') == 'replace_touched_since_pass' -%}
    {{ column }} in ({{ people_touched_since_pass() }})
    {%- elif config.get('incremental_strategy') == 'replace_decided' -%}
    {{ column }} in ({{ people_decided_on() }})
    {%- else -%}
    {{ column }} in ({{ people_touched_by_batch() }})
    {%- endif -%}
{%- endmacro %}
