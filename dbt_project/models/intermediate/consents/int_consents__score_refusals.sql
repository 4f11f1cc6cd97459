{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched',
    unique_key='person_id',
    indexes=[{'columns': ['person_id']}],
) }}

-- depends_on: {{ ref('int_batch__touched_people') }}
with rules as (
    select * from {{ source('raw_policies', 'consent_score_rules') }}
    where is_active
),

asking as (
    select * from rules
    where when_unknown = 'deny'
),

people as (
    select person_id from {{ ref('dim_people') }}
    where {{ where_touched() }}
),

consents as (
    select * from {{ ref('fct_consents') }}
    where {{ where_touched() }}
    {{ looked_up() }}
),

heard as (
    select
        consents.person_id,
        rules.rule_id,
        {{ is_blocking('rules', 'consents.effective_status') }} as is_no,
        consents.occurred_at as from_at,
        coalesce(least(consents.superseded_at, consents.expires_at), cast('infinity' as timestamptz)) as until_at,
    from consents
    inner join rules on {{ consent_is_heard('rules', 'consents') }}
    where
        {{ is_blocking('rules', 'consents.effective_status') }}
        or (consents.effective_status = 'granted' and rules.when_unknown = 'deny')
),

-- One statement often follows another without a gap: together they are one stretch.
begun as (
    select
        *,
        coalesce(
            from_at > max(until_at) over (
                partition by person_id, rule_id, is_no
                order by from_at, until_at
                rows between unbounded preceding and 1 preceding
            ),
            true
        ) as begins,
    from heard
),

numbered as (
    select
        *,
        count(*) filter (where begins) over (
            partition by person_id, rule_id, is_no
            order by from_at, until_at
            rows unbounded preceding
        ) as stretch,
    from begun
),

stretches as (
    select
        person_id,
        rule_id,
        is_no,
        min(from_at) as from_at,
        max(until_at) as until_at,
    from numbered
    group by person_id, rule_id, is_no, stretch
),

grants as (
    select
        *,
        lead(from_at) over (
            partition by person_id, rule_id
            order by from_at
        ) as next_from_at,
    from stretches
    where not is_no
),

refused as (
    select
        person_id,
        rule_id,
        from_at,
        nullif(until_at, cast('infinity' as timestamptz)) as until_at,
    from stretches
    where is_no
    union all
    -- Where silence means no: before the first yes, and whenever one has run out.
    select
        people.person_id,
        asking.rule_id,
        cast(null as timestamptz) as from_at,
        min(grants.from_at) as until_at,
    from people
    cross join asking
    left join grants on people.person_id = grants.person_id and asking.rule_id = grants.rule_id
    group by people.person_id, asking.rule_id
    union all
    select
        person_id,
        rule_id,
        until_at as from_at,
        next_from_at as until_at,
    from grants
    where until_at < cast('infinity' as timestamptz)
)

select
    refused.person_id,
    refused.rule_id,
    rules.covers,
    rules.activity_types,
    refused.from_at,
    refused.until_at,
from refused
inner join rules on refused.rule_id = rules.rule_id
