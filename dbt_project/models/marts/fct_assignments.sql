{{ config(
    materialized='incremental',
    incremental_strategy='deal',
    unique_key='assignment_id',
    indexes=[{'columns': ['person_id']}, {'columns': ['task_key']}],
    post_hook="{% if should_full_refresh() %}{{ note_pools_dealt(this, false) }}{% endif %}",
) }}

-- depends_on: {{ ref('int_batch__touched_people') }}
-- Weighted fair share: each lead of a pool takes the pool's next turn, and the turns are dealt so that every rep has had its share of them
-- to less than one lead at any time. Leads come in the order in which they became known, so a late event takes the next turn.
{% set continues = continues_the_deal() %}

with leads as (
    {{ leads_dealt(this, continues) }}
)

select
    assignment_id,
    -- Whatever versions of the policies decided: a new version must not make every rep's old calls anew.
    {{ guid(["'task'", 'person_id', 'crossing_number']) }} as task_key,
    mql_id,
    person_id,
    account_id,
    rep_id,
    routing_version,
    territory,
    cast(to_json(
        list_filter(
            [
                placement,
                case
                    when turn_rep_id is not null
                        then
                            'pool of ' || member_count || ' by weight: turn ' || turn || ' is ' || rep_name
                            || ' (share ' || cast(round(100 * weight / total_weight) as bigint) || '%)'
                    when rep_id is not null
                        then 'nobody serves the territory: fallback ' || fallback_rep_name
                    else 'nobody serves the territory and no fallback is set: unassigned'
                end
            ],
            lambda step: step is not null
        )
    ) as varchar) as reason_path,
    sla_minutes,
    known_at as assigned_at,
    known_at + to_minutes(sla_minutes) as sla_due_at,
from leads
where not is_erased
