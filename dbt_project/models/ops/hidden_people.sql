-- The serving file hides them as it is published.
with rules as (
    select * from {{ source('raw_policies', 'consent_serving_rules') }}
    where is_active
),

consents as (
    select * from {{ ref('fct_consents') }}
    where is_in_force
)

select
    consents.person_id,
    rules.rule_id,
    rules.effect,
    min(consents.occurred_at) as hidden_since_at,
from consents
inner join rules on {{ consent_is_heard('rules', 'consents') }} and {{ is_blocking('rules', 'consents.effective_status') }}
group by consents.person_id, rules.rule_id, rules.effect
