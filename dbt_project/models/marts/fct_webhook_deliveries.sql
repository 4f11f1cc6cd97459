with attempts as (
    select * from {{ source('raw_webhooks', 'attempts') }}
    where started_at <= {{ as_of() }}
)

select
    subscriber,
    kind,
    count(*) as attempt_count,
    count(*) filter (where outcome = 'delivered') as delivered_count,
    count(*) filter (where outcome <> 'delivered') as failed_count,
    count(*) filter (where outcome = 'dead') as dead_count,
    quantile_cont(seconds, 0.5) filter (where outcome = 'delivered') as answer_p50_seconds,
    quantile_cont(seconds, 0.95) filter (where outcome = 'delivered') as answer_p95_seconds,
    quantile_cont({{ seconds_between('told_at', 'started_at') }} + seconds, 0.95) filter (
        where outcome = 'delivered'
    ) as delivery_p95_seconds,
    date_trunc('hour', started_at) as started_hour_at,
from attempts
group by subscriber, kind, date_trunc('hour', started_at)
