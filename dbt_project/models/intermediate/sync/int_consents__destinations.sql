-- Whether a person may be pushed to a destination: the most restrictive current consent of the channel counts; unknown is what policy says.
with rules as (
    select * from {{ source('raw_policies', 'consent_rules') }}
    where is_active
),

people as (
    select person_id from {{ ref('dim_people') }}
),

consents as (
    select * from {{ ref('fct_consents') }}
    where is_current
),

judged as (
    select
        people.person_id,
        rules.destination,
        any_value(rules.when_unknown) as when_unknown,
        count(consents.consent_id) as consent_count,
        bool_or(list_contains(from_json(rules.blocking_statuses, '["VARCHAR"]'), consents.status)) as is_blocked,
    from people
    cross join rules
    left join consents
        on
            people.person_id = consents.person_id
            and consents.channel in (rules.channel, 'all')
    group by people.person_id, rules.destination
)

select
    person_id,
    destination,
    case
        when consent_count = 0 then when_unknown = 'allow'
        else not coalesce(is_blocked, false)
    end as is_consented,
    case
        when consent_count = 0 then 'unknown'
        when is_blocked then 'blocked'
        else 'granted'
    end as consent_state,
from judged
