-- Every rep who had a lead had until the deadline to touch it; a touch counts for whoever had the lead then.
with assignments as (
    select * from {{ ref('fct_assignments') }}
    where rep_id is not null
),

touches as (
    select * from {{ ref('int_routing__signals') }}
    where kind = 'touched'
),

touched as (
    select
        assignments.assignment_id,
        min(touches.occurred_at) as first_touch_at,
    from assignments
    inner join touches
        on
            assignments.person_id = touches.person_id
            and assignments.assigned_at <= touches.occurred_at
            and coalesce(assignments.superseded_at > touches.occurred_at, true)
    group by assignments.assignment_id
)

select
    assignments.assignment_id,
    assignments.mql_id,
    assignments.person_id,
    assignments.rep_id,
    assignments.territory,
    assignments.cause,
    case
        when touched.first_touch_at <= assignments.sla_due_at then 'met'
        when touched.first_touch_at is not null then 'late'
        when assignments.superseded_at < assignments.sla_due_at then 'taken_away'
        when assignments.sla_due_at <= {{ as_of() }} then 'missed'
        else 'running'
    end as outcome,
    assignments.sla_minutes,
    {{ seconds_between('assignments.assigned_at', 'touched.first_touch_at') }} / 60 as first_touch_minutes,
    assignments.assigned_at,
    assignments.sla_due_at,
    touched.first_touch_at,
    assignments.superseded_at,
from assignments
left join touched on assignments.assignment_id = touched.assignment_id
