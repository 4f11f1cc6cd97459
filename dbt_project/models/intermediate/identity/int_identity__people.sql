{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='record_key',
    indexes=[{'columns': ['record_key']}, {'columns': ['person_id']}, {'columns': ['component_key']}],
    pre_hook="{{ resolve_identity() }}",
    post_hook="{{ drop_identity_scratch() }}",
) }}

-- depends_on: {{ ref('int_batch__changed_records') }}
-- depends_on: {{ ref('int_identity__identifiers') }}
-- depends_on: {{ ref('int_identity__features') }}
-- depends_on: {{ ref('int_identity__matches') }}
-- depends_on: {{ ref('int_identity__merges_unioned') }}
-- depends_on: {{ source('raw_policies', 'identity_identifiers') }}
-- depends_on: {{ source('raw_policies', 'identity_matching') }}
with components as (
    select * from {{ this.schema }}.identity_scratch
),

records as (
    select * from {{ ref('int_identity__records') }}
)

select
    records.record_key,
    -- The first record received names the person: that survives merges, unmerges and rebuilds.
    first_value({{ guid(['records.system', 'records.record_type', 'records.record_id']) }}) over (
        partition by components.root
        order by records.first_received_at, records.record_key
    ) as person_id,
    coalesce(components.component, components.root) as component_key,
    records.system,
    records.record_type,
    records.record_id,
    records.first_received_at,
from components
inner join records on components.node = records.record_key
