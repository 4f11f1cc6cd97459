{{ config(
    materialized='incremental',
    incremental_strategy='replace_blocks',
    unique_key='record_key',
    indexes=[{'columns': ['record_key']}, {'columns': ['block_key']}],
) }}

-- depends_on: {{ ref('int_batch__changed_records') }}
-- depends_on: {{ source('raw_policies', 'identity_matching_columns') }}
-- depends_on: {{ source('raw_policies', 'identity_matching_keys') }}
{% set keys = matching_keys() %}

with features as (
    select * from {{ ref('int_identity__features') }}
    {{ of_changed_records() }}
),

compared as (
    select
        record_key,
        features{% for column in matching_columns() %}, features['{{ column['column_name'] }}'] as {{ column['column_name'] }}{% endfor %},
    from features
),

keyed as (
    {% for key in keys %}
    select
        record_key,
        cast({{ key['rule'] }} as integer) as rule,
        {{ key['expression'] }} as block_value,
    from compared
    {% if not loop.last %}union all{% endif %}
    {% else %}
    select
        record_key,
        cast(null as integer) as rule,
        cast(null as varchar) as block_value,
    from compared
    {% endfor %}
)

select distinct
    record_key,
    {{ hash64(['rule', 'block_value']) }} as block_key,
from keyed
where block_value is not null
