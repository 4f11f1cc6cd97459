-- depends_on: {{ source('raw_policies', 'identity_email_rules') }}
-- From the statements themselves and not from int_consents__destinations: the last gate before a person's data leaves.
with planned as (
    select
        operation_id,
        person_id,
        is_consented,
    from {{ ref('sync_salesforce__leads') }}
    union all
    select
        operation_id,
        person_id,
        is_consented,
    from {{ ref('sync_salesforce__tasks') }}
),

rules as (
    select * from {{ source('raw_policies', 'consent_rules') }}
    where is_active and destination = 'salesforce'
),

processing as (
    select purpose from {{ source('raw_policies', 'consent_purposes') }}
    where is_active and role = 'processing'
),

-- What stands by its instants, and not by what the mart calls in force.
current_consents as (
    select * from {{ ref('fct_consents') }}
    where superseded_at is null and (expires_at is null or expires_at > {{ as_of() }})
),

addresses as (
    select
        people.person_id,
        identifiers.identifier_value as address,
    from {{ ref('int_identity__identifiers') }} as identifiers
    inner join {{ ref('entity_map') }} as people on identifiers.record_key = people.record_key and people.is_current
    where identifiers.identifier_type = 'email'
),

-- Whoever states a consent by an address may be somebody else than the contact who has it.
stated_for_addresses as (
    select
        {{ guid(["'consent'", 'consent_record_id']) }} as consent_id,
        {{ canonical_address('normalize_email(email)') }} as address,
    from {{ ref('stg_events__consents') }}
    where contact_id is null
),

consents as (
    select
        person_id,
        consent_id,
        channel,
        purpose,
        effective_status as status,
        true as is_own,
    from current_consents
    union all
    select
        addresses.person_id,
        current_consents.consent_id,
        current_consents.channel,
        current_consents.purpose,
        current_consents.effective_status as status,
        false as is_own,
    from current_consents
    inner join stated_for_addresses on current_consents.consent_id = stated_for_addresses.consent_id
    inner join addresses on stated_for_addresses.address = addresses.address
),

judged as (
    select
        planned.operation_id,
        planned.is_consented,
        rules.channel,
        rules.purpose,
        rules.when_unknown,
        count(consents.consent_id) filter (where consents.is_own) as statement_count,
        count(*) filter (where contains(rules.blocking_statuses, '"' || consents.status || '"')) as blocking_count,
    from planned
    cross join rules
    left join consents
        on
            planned.person_id = consents.person_id
            and (rules.channel is null or rules.channel = consents.channel)
            and (
                rules.purpose = consents.purpose
                or (rules.purpose is null and consents.purpose not in (select processing.purpose from processing))
            )
    group by all
)

select *
from judged
where
    not is_consented
    or blocking_count > 0
    or (statement_count = 0 and when_unknown <> 'allow')
