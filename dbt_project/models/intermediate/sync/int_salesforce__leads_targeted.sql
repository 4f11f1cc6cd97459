-- The lead record that stands for an assigned person in Salesforce, if there is one: polled, or confirmed by a receipt
-- before the next poll.
with assignments as (
    select * from {{ ref('fct_assignments') }}
),

records as (
    select * from {{ ref('entity_map') }}
    where system = 'salesforce'
),

contacts as (
    select * from {{ ref('int_contacts__current') }}
    where system = 'salesforce'
),

receipts as (
    select
        external_id,
        max(record_id) as record_id,
    from {{ ref('stg_events__receipts') }}
    where system = 'salesforce' and object = 'Lead' and status in ('confirmed', 'superseded') and record_id is not null
    group by external_id
),

people as (
    select distinct person_id from assignments
),

polled as (
    select
        records.person_id,
        arg_min(
            records.record_id,
            row(
                contacts.handoff_person_id is distinct from records.person_id,
                contacts.created_at,
                records.record_id
            )
        ) filter (where records.record_type = 'lead' and not contacts.is_converted) as lead_record_id,
        min(records.record_id) filter (where records.record_type = 'contact') as contact_record_id,
    from records
    inner join contacts on records.record_key = contacts.record_key
    where not contacts.is_deleted
    group by records.person_id
)

select
    people.person_id,
    coalesce(polled.lead_record_id, receipts.record_id) as lead_record_id,
    polled.contact_record_id,
from people
left join polled on people.person_id = polled.person_id
left join receipts on people.person_id = receipts.external_id
