{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='activity_key',
    indexes=[{'columns': ['activity_key']}, {'columns': ['record_key']}, {'columns': ['occurred_at']}, {'columns': ['campaign_id']}, {'columns': ['visitor_key']}],
) }}

with keyed as (
    select
        *,
        cast(null as ubigint) as former_record_key,
        cast(null as ubigint) as former_visitor_key,
    from {{ ref('int_activities__told') }}
    {% if is_incremental() %}
        where {{ is_new() }}
    {% endif %}
),

-- A version that comes late may be older than the one already here.
versions as (
    select * from keyed
    {% if is_incremental() %}
        union all by name
        select
            *,
            -1 as seq,
        from {{ this }}
        where activity_key in (select activity_key from keyed)
    {% endif %}
),

newest as (
    select
        *,
        -- What an attempt that died found here has been overwritten by it, and is told by what it left.
        any_value(case when {{ is_new() }} then former_record_key else record_key end) filter (where seq = -1)
            over (partition by activity_key) as record_key_before,
        any_value(case when {{ is_new() }} then former_visitor_key else visitor_key end) filter (where seq = -1)
            over (partition by activity_key) as visitor_key_before,
    from versions
    qualify row_number() over (
        partition by activity_key
        order by changed_at desc, received_at desc, seq desc
    ) = 1
)

select
    * exclude (seq, former_record_key, former_visitor_key, record_key_before, visitor_key_before), -- noqa: AM04
    nullif(record_key_before, record_key) as former_record_key,
    nullif(visitor_key_before, visitor_key) as former_visitor_key,
from newest
