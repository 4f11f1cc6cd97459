{{ config(
    materialized='incremental',
    incremental_strategy='replace_decided',
    unique_key='person_id',
    indexes=[{'columns': ['person_id']}],
) }}

-- depends_on: {{ ref('int_batch__touched_people') }}
-- The lead record that stands for an assigned person in Salesforce, if there is one: polled, or confirmed by a receipt
-- before the next poll.
with assignments as (
    select * from {{ ref('fct_assignments') }}
    where {{ where_touched() }}
),

records as (
    select * from {{ ref('entity_map') }}
    where system = 'salesforce' and {{ where_touched() }}
),

contacts as (
    select * from {{ ref('int_contacts__current') }}
    where system = 'salesforce'
),

gone as (
    select
        record_id,
        is_deleted,
    from contacts
    where is_deleted or is_converted
),

confirmed as (
    select
        receipts.external_id,
        max(receipts.record_id) filter (where gone.record_id is null) as record_id,
        bool_or(gone.record_id is not null) as has_gone,
    from {{ ref('int_salesforce__leads_confirmed') }} as receipts
    left join gone on receipts.record_id = gone.record_id
    where {{ where_touched('receipts.external_id') }}
    group by receipts.external_id
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
        ) filter (where records.record_type = 'lead' and not contacts.is_deleted and not contacts.is_converted)
            as lead_record_id,
        coalesce(
            min(records.record_id) filter (where records.record_type = 'contact' and not contacts.is_deleted),
            -- Converted, and the contact is not polled yet.
            min(contacts.converted_contact_id) filter (
                where
                contacts.is_converted
                and not contacts.is_deleted
                and contacts.converted_contact_id not in (select record_id from gone)
            )
        ) as contact_record_id,
        bool_or(contacts.is_deleted or contacts.is_converted) as has_gone,
    from records
    inner join contacts on records.record_key = contacts.record_key
    group by records.person_id
),

targeted as (
    select
        people.person_id,
        coalesce(polled.lead_record_id, confirmed.record_id) as lead_record_id,
        polled.contact_record_id,
        coalesce(polled.has_gone, false) or coalesce(confirmed.has_gone, false) as has_gone,
    from people
    left join polled on people.person_id = polled.person_id
    left join confirmed on people.person_id = confirmed.external_id
)

select
    person_id,
    lead_record_id,
    contact_record_id,
    -- Somebody there deleted the lead, or made something of it that we do not see: a new one would undo their decision, and a task would
    -- hang on nothing. Another record of the person, or the lead taken out of the bin, and they are written again.
    has_gone and lead_record_id is null and contact_record_id is null as is_gone,
from targeted
