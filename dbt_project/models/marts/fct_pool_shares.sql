-- depends_on: {{ ref('fct_assignments') }}
-- Beside the assignments, and made with them: what to go on from is also what there is to say about fairness.
select
    routing_version,
    pool,
    rep_id,
    had as had_turns,
    entitled as entitled_turns,
    had - entitled as turns_ahead,
    turn_count,
from {{ routing_kept('shares') }}
