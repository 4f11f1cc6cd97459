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

records_ever as (
    select * from {{ ref('entity_map') }}
    where {{ where_touched() }}
    {{ looked_up() }}
),

records as (
    select * from records_ever
    where known_to is null
),

leads_confirmed as (
    select
        external_id,
        record_id,
        {{ record_key("'salesforce'", record_type_of("'salesforce'", 'record_id'), 'record_id') }} as record_key,
    from {{ ref('int_salesforce__leads_confirmed') }}
    where {{ where_touched('external_id') }}
),

contacts_named as (
    select * from {{ ref('int_contacts__current') }}
    {% if is_incremental() %}
        where
            record_key in (
                select leads_confirmed.record_key from leads_confirmed
                union
                select records.record_key from records
            )
    {% endif %}
    {{ looked_up() }}
),

confirmed as (
    select
        leads_confirmed.external_id,
        max(leads_confirmed.record_id) filter (
            where contacts.record_key is null or not (contacts.is_deleted or contacts.is_converted)
        ) as record_id,
        bool_or(contacts.record_key is not null and (contacts.is_deleted or contacts.is_converted)) as has_gone,
    from leads_confirmed
    left join contacts_named as contacts on leads_confirmed.record_key = contacts.record_key
    group by leads_confirmed.external_id
),

people as (
    select distinct person_id from assignments
),

contacts as (
    select
        records.person_id,
        records.record_id,
        records.record_type,
        contacts.handoff_person_id,
        contacts.created_at,
        contacts.is_deleted,
        contacts.is_converted,
        contacts.converted_contact_id,
        {{ record_key("'salesforce'", "'contact'", 'contacts.converted_contact_id') }} as converted_key,
    from records
    inner join contacts_named as contacts on records.record_key = contacts.record_key
    where records.system = 'salesforce'
),

contacts_converted as (
    select * from {{ ref('int_contacts__current') }}
    {% if is_incremental() %}
        where record_key in (select contacts.converted_key from contacts)
    {% endif %}
    {{ looked_up() }}
),

polled as (
    select
        contacts.person_id,
        arg_min(
            contacts.record_id,
            row(
                contacts.handoff_person_id is distinct from contacts.person_id,
                contacts.created_at,
                contacts.record_id
            )
        ) filter (where contacts.record_type = 'lead' and not contacts.is_deleted and not contacts.is_converted)
            as lead_record_id,
        coalesce(
            min(contacts.record_id) filter (where contacts.record_type = 'contact' and not contacts.is_deleted),
            -- Converted, and the contact is not polled yet.
            min(contacts.converted_contact_id) filter (
                where
                contacts.is_converted
                and not contacts.is_deleted
                and (converted.record_key is null or not (converted.is_deleted or converted.is_converted))
            )
        ) as contact_record_id,
        bool_or(contacts.is_deleted or contacts.is_converted) as has_gone,
    from contacts
    left join contacts_converted as converted on contacts.converted_key = converted.record_key
    group by contacts.person_id
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
