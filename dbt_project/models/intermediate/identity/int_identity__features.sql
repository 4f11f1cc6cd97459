{{ config(
    materialized='incremental',
    incremental_strategy='replace_changed_records',
    unique_key='record_key',
    indexes=[{'columns': ['record_key']}],
) }}

-- depends_on: {{ ref('int_batch__changed_records') }}
-- depends_on: {{ source('raw_policies', 'identity_matching_columns') }}
{% set columns = matching_columns() %}

with contacts as (
    select * from {{ ref('int_contacts__current') }}
    {{ of_changed_records() }}
),

compared as (
    select
        record_key,
        map_from_entries([
            {% for column in columns %}
            ('{{ column['column_name'] }}', {{ column['expression'] }}),
            {% else %}
            ('', cast(null as varchar)),
            {% endfor %}
        ]) as features,
    from contacts
    where {{ 'true' if columns else 'false' }}
)

select
    record_key,
    features,
from compared
