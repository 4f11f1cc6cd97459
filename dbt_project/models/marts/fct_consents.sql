{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched',
    unique_key='person_id',
    indexes=[{'columns': ['person_id']}, {'columns': ['record_key']}],
) }}

-- depends_on: {{ ref('int_batch__touched_people') }}
with records as (
    select * from {{ ref('entity_map') }}
    where {{ where_touched() if is_incremental() else 'person_id is not null' }}
    {{ looked_up() }}
),

consents as (
    select
        consents.*,
        records.person_id,
    from {{ ref('int_consents__versions') }} as consents
    inner join records on consents.record_key = records.record_key
    {{ looked_up() }}
)

select
    {{ guid(["'consent'", 'consent_record_id']) }} as consent_id,
    record_key,
    person_id,
    system,
    channel,
    coalesce(purpose, 'marketing') as purpose,
    lawful_basis,
    status,
    source,
    notice_version,
    row_number() over (
        partition by person_id, channel, coalesce(purpose, 'marketing')
        order by occurred_at desc, received_at desc, consent_record_id desc
    ) = 1 as is_current,
    occurred_at,
    received_at,
from consents
where occurred_at <= {{ as_of() }}
