-- Whether a person may be pushed to a destination: every rule must pass, the most restrictive current consent of its channel counts, and
-- unknown is what the rule says.
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
        rules.channel,
        any_value(rules.when_unknown) as when_unknown,
        count(consents.consent_id) as consent_count,
        bool_or(list_contains(from_json(rules.blocking_statuses, '["VARCHAR"]'), consents.status)) as is_blocked,
    from people
    cross join rules
    left join consents
        on
            people.person_id = consents.person_id
            and rules.channel = consents.channel
            and (rules.purpose is null or rules.purpose = consents.purpose)
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
