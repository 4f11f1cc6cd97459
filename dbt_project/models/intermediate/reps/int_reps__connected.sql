-- Until when what a directory says was so before: it was connected, and heard of all of it at once.
with stated as (
    {{ union_by_name([
        ref('stg_events__reps'),
        ref('stg_hubspot__owners'),
        ref('stg_salesforce__users'),
    ]) }}
)

select min({{ known_since() }}) + interval 1 day as connected_until
from stated
where occurred_at <= {{ as_of() }}
