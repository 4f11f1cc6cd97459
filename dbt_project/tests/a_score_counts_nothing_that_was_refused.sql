-- From the statements themselves: nothing somebody did while they refused tracking counted, and nothing at all of who objects to profiling now.
with processing as (
    select
        person_id,
        purpose,
        occurred_at,
        superseded_at,
    from {{ ref('fct_consents') }}
    where status in ('denied', 'withdrawn') and purpose in ('profiling', 'tracking')
),

rules as (
    select
        rule_id,
        purpose,
        covers,
        activity_types,
    from {{ source('raw_policies', 'consent_score_rules') }}
    where is_active and purpose in ('profiling', 'tracking') and channel is null
)

select
    ledger.ledger_entry_id,
    rules.rule_id,
    ledger.withheld_at,
from {{ ref('fct_score_ledger') }} as ledger
inner join processing on ledger.person_id = processing.person_id
inner join rules on processing.purpose = rules.purpose
left join {{ ref('fct_activities') }} as activities on ledger.activity_id = activities.activity_id
where
    ledger.withheld_at is null
    and (
        (rules.covers = 'everything' and processing.superseded_at is null)
        or (
            ledger.activity_id is not null
            and (rules.activity_types is null or contains(rules.activity_types, '"' || activities.activity_type || '"'))
            and ledger.occurred_at >= processing.occurred_at
            and (processing.superseded_at is null or ledger.occurred_at < processing.superseded_at)
        )
    )
