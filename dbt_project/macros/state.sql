{# Newest value of a column over the versions of a record: a polled document states every field, an event only those it carries
   (absent = unchanged, explicit null = emptied). #}
{% macro latest_value(column, over='') -%}
    arg_max_null({{ column }}, version_order) filter (
        where is_full_state or {{ column }} is not null or list_contains(null_fields, '{{ column }}')
    ) {{ over }} as {{ column }}
{%- endmacro %}

{# Best value of a column over records that are one; they come ranked by policy. #}
{% macro preferred_value(column, preference='preference') -%}
    arg_min({{ column }}, {{ preference }}) as {{ column }}
{%- endmacro %}

{# What a field of a person goes by where records disagree: SQL over a record's standing (is_deleted, system_place, recency, and by
   identifier whether it is verified), least first. `winners`: what winners() gives, asked once for all fields. #}
{% macro winning_order(column, winners) -%}
    {%- set standing = {'system_priority': 'system_place', 'recency': 'recency', 'verified': 'not is_' ~ column ~ '_verified'} -%}
    {%- set of_field = [] -%}
    {%- set of_all = [] -%}
    {%- for told in winners -%}
        {%- if told['field'] == column -%}{%- do of_field.append(standing[told['criterion']]) -%}{%- endif -%}
        {%- if told['field'] is none -%}{%- do of_all.append(standing[told['criterion']]) -%}{%- endif -%}
    {%- endfor -%}
    row(is_deleted, {{ (of_field or of_all or ['system_place', 'recency']) | join(', ') }}, record_key)
{%- endmacro %}

{# The active policy's order of criteria, by field. #}
{% macro winners() %}
    {{ return(matching_rows('identity_winners', 'field, position, criterion', 'field nulls first, position')) }}
{% endmacro %}

{# Records of the contacts a poll of the MAP has brought versions of: what they say of consent is inferred from one version after another. #}
{% macro records_told_by_map() -%}
    select record_key from {{ ref('stg_hubspot__contacts') }} where {{ is_new() }}
    union
    select record_key from {{ ref('stg_marketo__leads') }} where {{ is_new() }}
{%- endmacro %}

{% macro records_told_by_salesforce() -%}
    select record_key from {{ ref('stg_salesforce__leads') }} where {{ is_new() }}
    union
    select record_key from {{ ref('stg_salesforce__contacts') }} where {{ is_new() }}
{%- endmacro %}

{# Accounts a batch says something of. #}
{% macro accounts_stated() -%}
    {% for accounts in ['stg_events__accounts', 'stg_hubspot__companies', 'stg_salesforce__accounts', 'stg_enrichment__companies'] %}
    select
        system,
        record_id,
    from {{ ref(accounts) }}
    where {{ is_new() }} or {{ has_come('occurred_at') }}
    {% if not loop.last %}union{% endif %}
    {% endfor %}
{%- endmacro %}

{# Whether a select gives any row, asked while the model is rendered: what it would cost to handle them is not even planned otherwise. #}
{% macro has_rows(select) -%}
    {{ return(execute and run_query('select exists (' ~ select ~ ')').columns[0].values()[0]) }}
{%- endmacro %}

{# Ends a CTE of what a batch looks up. A scan with a second condition reads the whole column instead of asking the index, so conditions come
   after the CTE, and this keeps the optimizer from moving them into it. In a rebuild everything is read anyway. #}
{% macro looked_up() -%}
    {{ '' if flags.FULL_REFRESH else 'offset 0' }}
{%- endmacro %}
