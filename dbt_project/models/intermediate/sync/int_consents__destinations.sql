{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key='person_id') }}

-- depends_on: {{ ref('int_batch__touched_people') }}
-- Whether a person may be pushed to a destination: every rule must pass, the most restrictive current consent of its channel counts, and
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

consents as (
    select * from {{ ref('fct_consents') }}
    where is_current
),

identities as (
    select * from {{ ref('int_identity__people') }}
),

-- Shared mailboxes and blocked values link nobody, so what is stated for such an address is said by a person of its own, and whoever asked
-- to be left alone under info@ would be written to as the contact who has that address.
addresses as (
    select
        record_key,
        identifier_key,
    from {{ ref('int_identity__identifiers') }}
    where identifier_type = 'email'
),

mailboxes as (
    select distinct
        owners.person_id,
        sharing.record_key,
    from identities as owners
    inner join addresses as own on owners.record_key = own.record_key
    inner join addresses as sharing on own.identifier_key = sharing.identifier_key
    inner join identities as mailbox on sharing.record_key = mailbox.record_key
    where
        mailbox.record_type = 'email'
        and owners.person_id <> mailbox.person_id
        and owners.person_id in (select people.person_id from people)
),

heard as (
    select
        person_id,
        consent_id,
        channel,
        purpose,
        status,
        true as is_own,
    from consents
    where person_id in (select people.person_id from people)
    union all
    select
        mailboxes.person_id,
        consents.consent_id,
        consents.channel,
        consents.purpose,
        consents.status,
        false as is_own,
    from mailboxes
    inner join consents on mailboxes.record_key = consents.record_key
),

judged as (
    select
        people.person_id,
        rules.destination,
        rules.channel,
        any_value(rules.when_unknown) as when_unknown,
        count(heard.consent_id) as consent_count,
        bool_or(list_contains(from_json(rules.blocking_statuses, '["VARCHAR"]'), heard.status)) as is_blocked,
    from people
    cross join rules
    left join heard
        on
            people.person_id = heard.person_id
            and rules.channel = heard.channel
            and (rules.purpose is null or rules.purpose = heard.purpose)
            and (heard.is_own or list_contains(from_json(rules.blocking_statuses, '["VARCHAR"]'), heard.status))
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
