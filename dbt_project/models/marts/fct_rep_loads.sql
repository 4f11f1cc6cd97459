-- depends_on: {{ ref('fct_assignments') }}
select
    rep_id,
    case when {{ as_of() }} < make_timestamptz(day_ends_us) then day_count else 0 end as lead_count_today,
    open_count as open_lead_count,
    make_timestamptz(day_begins_us) as day_began_at,
    make_timestamptz(day_ends_us) as day_ends_at,
from {{ routing_kept('loads') }}
