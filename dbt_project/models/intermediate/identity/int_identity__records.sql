{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='record_key',
    indexes=[{'columns': ['record_key']}],
) }}

with mentions as (
    select
        record_key,
        system,
        record_type,
        record_id,
        received_at as first_received_at,
    from {{ ref('int_identity__references') }}
    {% if is_incremental() %}
        where {{ is_new() }}
        union all by name
        select * from {{ this }}
        where record_key in (
            select record_key from {{ ref('int_identity__references') }} where {{ is_new() }}
        )
    {% endif %}
)

select
    record_key,
    any_value(system) as system,
    any_value(record_type) as record_type,
    any_value(record_id) as record_id,
    min(first_received_at) as first_received_at,
from mentions
group by record_key
