-- From a form submit to the lead and its task in the CRM, instant by instant. History that was loaded in bulk tells nothing about latency:
-- what arrived long after it happened is left out.
with settings as (
    select * from {{ source('raw_policies', 'kpi_settings') }}
    where is_active
),

mqls as (
    select * from {{ ref('fct_mqls') }}
),

submits as (
    select activities.*
    from {{ ref('fct_activities') }} as activities
    cross join settings
    where
        activities.activity_type = 'form_submit'
        and {{ seconds_between('activities.occurred_at', 'activities.received_at') }} < settings.backfill_after_hours * 3600
),

-- Each write names the decisions behind it.
confirmed as (
    select
        *,
        unnest(from_json(reasons, '["VARCHAR"]')) as reason,
    from {{ ref('fct_pushes') }}
    where is_confirmed
),

leads as (
    select
        mqls.mql_id,
        mqls.person_id,
        mqls.reached_at,
        confirmed.system as destination,
        arg_min(confirmed.planned_at, confirmed.confirmed_at) as planned_at,
        arg_min(confirmed.sent_at, confirmed.confirmed_at) as sent_at,
        min(confirmed.confirmed_at) as lead_confirmed_at,
    from mqls
    inner join confirmed on mqls.mql_id = confirmed.reason
    where confirmed.object = 'Lead'
    group by mqls.mql_id, mqls.person_id, mqls.reached_at, confirmed.system
),

tasks as (
    select
        reason as mql_id,
        system as destination,
        min(confirmed_at) as task_confirmed_at,
    from confirmed
    where object = 'Task'
    group by reason, system
),

-- The submit that came last before the plan is the one somebody waited for.
timed as (
    select
        leads.mql_id,
        leads.person_id,
        leads.destination,
        arg_max(submits.activity_id, submits.received_at) as activity_id,
        arg_max(submits.system, submits.received_at) as system,
        max(submits.received_at) as received_at,
        arg_max(submits.loaded_at, submits.received_at) as loaded_at,
        any_value(leads.planned_at) as planned_at,
        any_value(leads.sent_at) as sent_at,
        any_value(leads.lead_confirmed_at) as lead_confirmed_at,
    from leads
    inner join submits
        on
            leads.person_id = submits.person_id
            and leads.reached_at >= submits.occurred_at
            and leads.planned_at >= submits.received_at
    group by leads.mql_id, leads.person_id, leads.destination
)

select
    timed.mql_id,
    timed.person_id,
    timed.activity_id,
    timed.system,
    timed.destination,
    {{ seconds_between('timed.received_at', 'timed.loaded_at') }} as landing_seconds,
    {{ seconds_between('timed.loaded_at', 'timed.planned_at') }} as decision_seconds,
    {{ seconds_between('timed.planned_at', 'timed.sent_at') }} as queue_seconds,
    {{ seconds_between('timed.sent_at', 'timed.lead_confirmed_at') }} as confirmation_seconds,
    {{ seconds_between('timed.received_at', 'timed.lead_confirmed_at') }} as lead_seconds,
    {{ seconds_between('timed.received_at', 'tasks.task_confirmed_at') }} as task_seconds,
    timed.received_at,
    timed.loaded_at,
    timed.planned_at,
    timed.sent_at,
    timed.lead_confirmed_at,
    tasks.task_confirmed_at,
from timed
left join tasks on timed.mql_id = tasks.mql_id and timed.destination = tasks.destination
