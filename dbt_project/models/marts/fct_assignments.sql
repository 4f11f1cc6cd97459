{{ config(
    materialized='incremental',
    incremental_strategy='deal',
    unique_key='assignment_id',
    indexes=[{'columns': ['person_id']}, {'columns': ['task_key']}, {'columns': ['mql_id']}],
    pre_hook="{{ deal_leads() }}",
    post_hook="{% if should_full_refresh() or not is_incremental() %}{{ keep_all_dealt() }}{% endif %}",
) }}

-- depends_on: {{ ref('int_batch__touched_people') }}
-- depends_on: {{ ref('int_routing__signals') }}
-- depends_on: {{ ref('int_reps__versions') }}
-- depends_on: {{ ref('int_reps__absences') }}
-- depends_on: {{ ref('int_accounts__owners') }}
-- depends_on: {{ source('raw_policies', 'routing_versions') }}
-- Decided by models.routing, one lead after the other in the order in which things became known: fair to less than one lead at any time,
-- and the same whether leads come one by one or all at once.
with dealt as (
    select unnest(dealt['decisions'], max_depth := 2) from {{ leads_dealt() }}
),

leads as (
    select * from {{ ref('int_routing__leads') }}
    {% if is_incremental() %}
        where lead_id in (select dealt.lead_id from dealt)
    {% endif %}
    {{ looked_up() }}
)

select
    case
        when dealt.number = 1 then {{ guid(["'assignment'", 'dealt.lead_id', 'dealt.routing_version']) }}
        else {{ guid(["'assignment'", 'dealt.lead_id', 'dealt.routing_version', 'dealt.number']) }}
    end as assignment_id,
    {{ task_key('leads.person_id', 'leads.crossing_number', 'dealt.number') }} as task_key,
    dealt.lead_id as mql_id,
    leads.person_id,
    leads.account_id,
    dealt.rep_id,
    dealt.routing_version,
    dealt.territory,
    dealt.pool,
    dealt.cause,
    cast(to_json(dealt.path) as varchar) as reason_path,
    dealt.passed_over,
    dealt.number as assignment_number,
    dealt.sla_minutes,
    make_timestamptz(dealt.assigned_us) as assigned_at,
    make_timestamptz(dealt.due_us) as sla_due_at,
    make_timestamptz(dealt.superseded_us) as superseded_at,
    dealt.superseded_us is null as is_current,
from dealt
inner join leads on dealt.lead_id = leads.lead_id
