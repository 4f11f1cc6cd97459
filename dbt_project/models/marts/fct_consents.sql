{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key='person_id') }}

-- depends_on: {{ ref('int_batch__touched_people') }}
with consents as (
    {{ union_by_name([ref('stg_events__consents'), ref('stg_hubspot__consents')]) }}
),

records as (
    select * from {{ ref('entity_map') }}
    where
        person_id is not null
        and {{ where_touched() }}
),

keyed as (
    select
        *,
        {{ record_key(
            'system',
            "case when contact_id is null then 'email' else " ~ record_type_of('system', 'contact_id') ~ " end",
            'coalesce(contact_id, lower(trim(email)))'
        ) }} as record_key,
    from consents
    where
        occurred_at <= {{ as_of() }}
        -- Sorted out by what they name, before a key is made of it.
        and (system, coalesce(contact_id, lower(trim(email)))) in (select (system, record_id) from records)
)

select
    {{ guid(["'consent'", 'keyed.consent_record_id']) }} as consent_id,
    keyed.record_key,
    records.person_id,
    keyed.system,
    keyed.channel,
    coalesce(keyed.purpose, 'marketing') as purpose,
    keyed.lawful_basis,
    keyed.status,
    keyed.source,
    keyed.notice_version,
    row_number() over (
        partition by records.person_id, keyed.channel, coalesce(keyed.purpose, 'marketing')
        order by keyed.occurred_at desc, keyed.received_at desc, keyed.consent_record_id desc
    ) = 1 as is_current,
    keyed.occurred_at,
    keyed.received_at,
from keyed
inner join records on keyed.record_key = records.record_key
