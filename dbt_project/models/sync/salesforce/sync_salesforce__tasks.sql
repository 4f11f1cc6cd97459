{{ config(materialized='incremental', incremental_strategy='replace_decided', unique_key='person_id') }}

-- depends_on: {{ ref('int_batch__touched_people') }}
-- The follow-up task of an assignment is made once; from then on it is the rep's.
with assignments as (
    select * from {{ ref('fct_assignments') }}
    where {{ where_touched() }}
    {{ looked_up() }}
),

-- Who has a lead no more is told of no call.
current as (
    select * from assignments
    where is_current
),

mqls as (
    select * from {{ ref('fct_mqls') }}
    where {{ where_touched() }}
    {{ looked_up() }}
),

people as (
    select * from {{ ref('dim_people') }}
    where not is_deleted
),

reps as (
    select * from {{ ref('dim_reps') }}
    where salesforce_user_id is not null
),

targets as (
    select * from {{ ref('int_salesforce__leads_targeted') }}
    where not is_gone
),

consents as (
    select * from {{ ref('int_consents__destinations') }}
    where destination = 'salesforce'
),

known_tasks as (
    select task_key from {{ ref('int_salesforce__tasks_known') }}
),

desired as (
    select
        assignments.assignment_id,
        assignments.task_key,
        assignments.mql_id,
        assignments.sla_due_at,
        people.person_id,
        reps.salesforce_user_id as owner_salesforce_id,
        -- A date without a zone is read as one of the place where it is read.
        coalesce({{ local_time('assignments.sla_due_at', 'reps.time_zone') }}, assignments.sla_due_at at time zone 'UTC') as due_locally_at,
        coalesce(targets.lead_record_id, targets.contact_record_id) as who_id,
        -- Task.Subject holds 255 characters.
        'Call '
        || left(coalesce(nullif(concat_ws(' ', people.first_name, people.last_name), ''), people.email, 'new lead'), 200)
        || ' (MQL, score ' || cast(round(mqls.score) as bigint) || ', grade ' || mqls.grade || ')' as subject,
        {{ reasons_text('mqls.reasons', 'chr(10)') }} as description,
        coalesce(consents.is_consented, false) as is_consented,
    from current as assignments
    inner join mqls on assignments.mql_id = mqls.mql_id
    inner join people on assignments.person_id = people.person_id
    inner join reps on assignments.rep_id = reps.rep_id
    inner join targets on assignments.person_id = targets.person_id
    left join consents on people.person_id = consents.person_id
    where assignments.task_key not in (select task_key from known_tasks)
),

written as (
    select
        *,
        cast(json_object(
            'Subject', subject,
            'Description', description,
            'Status', 'Not Started',
            'Priority', 'High',
            'OwnerId', owner_salesforce_id,
            'ActivityDate', strftime(due_locally_at, '%Y-%m-%d'),
            'ReminderDateTime', {{ salesforce_instant('sla_due_at') }},
            'WhoId', who_id
        ) as varchar) as payload,
    from desired
)

select
    {{ guid(["'Task'", 'task_key']) }} as operation_id,
    'Task' as object,
    'upsert' as action,
    'Handoff_Task_Key__c' as external_id_field,
    task_key as external_id,
    cast(null as varchar) as target_id,
    person_id,
    person_id as who_external_id,
    case when who_id is null then person_id end as depends_on_external_id,
    owner_salesforce_id,
    payload,
    cast(json_object('Subject', json_object('old', null, 'new', subject)) as varchar) as changes,
    cast(to_json([mql_id, assignment_id]) as varchar) as reasons,
    cast(null as varchar) as trace_parent,
    is_consented,
    sla_due_at as due_at,
from written
where is_consented
