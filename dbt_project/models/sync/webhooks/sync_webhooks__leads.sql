{{ config(materialized='view') }}

-- Named by the person and the number of the crossing, as the follow-up task is: neither a late event, nor another version of a policy, nor
-- a lead dealt anew makes news of what was told.
with crossings as (
    select * from {{ ref('fct_mqls') }}
),

-- The same again under another name: what two parts of a statement read is read whole, and not by its index.
mqls as (
    select * from {{ ref('fct_mqls') }}
),

assignments as (
    select * from {{ ref('fct_assignments') }}
    where rep_id is not null
),

reps as (
    select
        rep_id,
        name as rep_name,
        salesforce_user_id,
        hubspot_owner_id,
    from {{ ref('dim_reps') }}
),

reached as (
    select
        {{ guid(["'mql.reached'", 'person_id', 'crossing_number']) }} as message_id,
        {{ guid(["'mql.reached'", 'person_id', 'crossing_number']) }} as decision_id,
        'mql.reached' as kind,
        person_id,
        person_id as crossing_person_id,
        crossing_number,
        cast(null as varchar) as rep_id,
        json_object(
            'person_id', person_id,
            'account_id', account_id,
            'mql_id', mql_id,
            'crossing_number', crossing_number,
            'scoring_version', scoring_version,
            'score', round(score, 1),
            'fit_score', round(fit_score, 1),
            'grade', grade,
            'reasons', cast(reasons as json),
            'reached_at', {{ iso_instant('reached_at') }},
            'known_at', {{ iso_instant('known_at') }}
        ) as payload,
        trace_parent,
        reached_at as happened_at,
    from crossings
),

assigned as (
    select
        case
            when assignments.assignment_number = 1
                then {{ guid(["'lead.assigned'", 'mqls.person_id', 'mqls.crossing_number']) }}
            else {{ guid(["'lead.assigned'", 'mqls.person_id', 'mqls.crossing_number', 'assignments.assignment_number']) }}
        end as message_id,
        {{ guid(["'lead.assigned'", 'mqls.person_id', 'mqls.crossing_number']) }} as decision_id,
        'lead.assigned' as kind,
        assignments.person_id,
        mqls.person_id as crossing_person_id,
        mqls.crossing_number,
        assignments.rep_id,
        json_object(
            'person_id', assignments.person_id,
            'account_id', assignments.account_id,
            'mql_id', assignments.mql_id,
            'assignment_id', assignments.assignment_id,
            'crossing_number', mqls.crossing_number,
            'rep_id', assignments.rep_id,
            'salesforce_user_id', reps.salesforce_user_id,
            'hubspot_owner_id', reps.hubspot_owner_id,
            'routing_version', assignments.routing_version,
            'territory', assignments.territory,
            'assignment_number', assignments.assignment_number,
            'cause', assignments.cause,
            'score', round(mqls.score, 1),
            'grade', mqls.grade,
            -- A rep's name is personal too: whoever asks for it gets it by itself.
            'reason_path', list_transform(
                from_json(assignments.reason_path, '["VARCHAR"]'),
                lambda step: replace(step, coalesce(reps.rep_name, assignments.rep_id), assignments.rep_id)
            ),
            'assigned_at', {{ iso_instant('assignments.assigned_at') }},
            'sla_due_at', {{ iso_instant('assignments.sla_due_at') }}
        ) as payload,
        mqls.trace_parent,
        -- When the person qualified: whoever is not told that somebody did is not told either who got them. Who gets them later is news.
        case when assignments.assignment_number = 1 then mqls.reached_at else assignments.assigned_at end as happened_at,
    from assignments
    inner join mqls on assignments.mql_id = mqls.mql_id and assignments.person_id = mqls.person_id
    left join reps on assignments.rep_id = reps.rep_id
)

select * from reached
union all
select * from assigned
