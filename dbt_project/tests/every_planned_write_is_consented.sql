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

consents as (
    select * from {{ ref('fct_consents') }}
    where is_current
),

judged as (
    select
        planned.operation_id,
        planned.is_consented,
        rules.channel,
        rules.when_unknown,
        count(consents.consent_id) as statement_count,
        count(*) filter (where contains(rules.blocking_statuses, '"' || consents.status || '"')) as blocking_count,
    from planned
    cross join rules
    left join consents
        on
            planned.person_id = consents.person_id
            and rules.channel = consents.channel
            and rules.purpose is not distinct from case when rules.purpose is not null then consents.purpose end
    group by all
)

select *
from judged
where
    not is_consented
    or blocking_count > 0
    or (statement_count = 0 and when_unknown <> 'allow')
