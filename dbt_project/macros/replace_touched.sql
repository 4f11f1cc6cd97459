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

{# Incremental strategy of the assignments: leads are added behind those dealt already, or all are dealt anew and only rows that differ are
   written. Whose they are is kept for the models behind, also for the next attempt when this one dies before they have run. #}
{% macro get_incremental_deal_sql(arg_dict) %}
    {%- set columns = arg_dict['dest_columns'] | map(attribute='quoted') | join(', ') -%}
    {%- set kept = arg_dict['target_relation'] -%}
    {%- set dealt = arg_dict['temp_relation'] -%}
    create table if not exists {{ people_reassigned() }} (person_id varchar, since varchar);
    delete from {{ people_reassigned() }} where since <> '{{ var("since") }}';
    {% if continues_the_deal() %}
        insert into {{ people_reassigned() }} select person_id, '{{ var("since") }}' as since from {{ dealt }};
        {{ note_pools_dealt(dealt, true) }};
        insert into {{ kept }} ({{ columns }}) select {{ columns }} from {{ dealt }}
    {% else %}
        create or replace temp table assignments_gone as
        select {{ columns }} from {{ kept }} except select {{ columns }} from {{ dealt }};
        create or replace temp table assignments_made as
        select {{ columns }} from {{ dealt }} except select {{ columns }} from {{ kept }};
        insert into {{ people_reassigned() }}
        select person_id, '{{ var("since") }}' as since from assignments_made
        union all
        select person_id, '{{ var("since") }}' as since from assignments_gone;
        delete from {{ kept }} where assignment_id in (select assignment_id from assignments_gone);
        {{ note_pools_dealt(dealt, false) }};
        insert into {{ kept }} ({{ columns }}) select {{ columns }} from assignments_made
    {% endif %}
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
