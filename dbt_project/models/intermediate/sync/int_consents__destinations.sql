{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched',
    unique_key='person_id',
    indexes=[{'columns': ['person_id']}],
) }}

-- depends_on: {{ ref('int_batch__touched_people') }}
-- Whether a person may be pushed to a destination: every rule must pass, the most restrictive consent that stands counts, and
-- unknown is what the rule says. A no stated for an e-mail address counts for everybody who has the address, a yes only for whom it is
-- from.
with rules as (
    select * from {{ source('raw_policies', 'consent_rules') }}
    where is_active
),

people as (
    select person_id from {{ ref('dim_people') }}
    where {{ where_touched() }}
),

-- Shared mailboxes and blocked values link nobody, so what is stated for such an address is said by a person of its own, and whoever asked
-- to be left alone under info@ would be written to as the contact who has that address.
owners as (
    select
        record_key,
        person_id,
    from {{ ref('int_identity__people') }}
    where person_id in (select people.person_id from people)
    {{ looked_up() }}
),

addresses as (
    select
        owners.person_id,
        carried.identifier_type,
        carried.identifier_key,
    from owners
    inner join {{ ref('int_identity__identifiers') }} as carried on owners.record_key = carried.record_key
    {{ looked_up() }}
),

sharing as (
    select
        addresses.person_id,
        carried.record_key,
    from addresses
    inner join {{ ref('int_identity__identifiers') }} as carried on addresses.identifier_key = carried.identifier_key
    where addresses.identifier_type = 'email'
    {{ looked_up() }}
),

mailboxes as (
    select distinct
        sharing.person_id,
        sharing.record_key,
        mailbox.record_type,
    from sharing
    inner join {{ ref('int_identity__people') }} as mailbox on sharing.record_key = mailbox.record_key
    where sharing.person_id <> mailbox.person_id
    {{ looked_up() }}
),

said_by_themselves as (
    select
        people.person_id,
        consents.consent_id,
        consents.channel,
        consents.purpose,
        consents.purpose_kind,
        consents.effective_status,
        consents.is_in_force,
    from people
    inner join {{ ref('fct_consents') }} as consents on people.person_id = consents.person_id
    {{ looked_up() }}
),

said_for_the_address as (
    select
        mailboxes.person_id,
        mailboxes.record_type,
        consents.consent_id,
        consents.channel,
        consents.purpose,
        consents.purpose_kind,
        consents.effective_status,
        consents.is_in_force,
    from mailboxes
    inner join {{ ref('fct_consents') }} as consents on mailboxes.record_key = consents.record_key
    {{ looked_up() }}
),

heard as (
    select
        person_id,
        consent_id,
        channel,
        purpose,
        purpose_kind,
        effective_status,
        true as is_own,
    from said_by_themselves
    where is_in_force
    union all
    select
        person_id,
        consent_id,
        channel,
        purpose,
        purpose_kind,
        effective_status,
        false as is_own,
    from said_for_the_address
    where is_in_force and record_type = 'email'
),

judged as (
    select
        people.person_id,
        rules.destination,
        rules.channel,
        any_value(rules.when_unknown) as when_unknown,
        count(heard.consent_id) as consent_count,
        bool_or({{ is_blocking('rules', 'heard.effective_status') }}) as is_blocked,
    from people
    cross join rules
    left join heard
        on
            people.person_id = heard.person_id
            and {{ consent_is_heard('rules', 'heard') }}
            and (heard.is_own or {{ is_blocking('rules', 'heard.effective_status') }})
    group by people.person_id, rules.destination, rules.channel, rules.purpose
),

by_rule as (
    select
        *,
        case
            when consent_count = 0 then when_unknown = 'allow'
            else not coalesce(is_blocked, false)
        end as passes,
    from judged
)

select
    person_id,
    destination,
    bool_and(passes) as is_consented,
    case
        when bool_or(consent_count > 0 and is_blocked) then 'blocked'
        when not bool_and(passes) then 'unknown'
        else 'granted'
    end as consent_state,
from by_rule
group by person_id, destination
