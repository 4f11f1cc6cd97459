with events as (
    select * from {{ ref('stg_events__acceptances') }}
),

hourly as (
    select
        event_type,
        date_trunc('hour', received_at) as received_hour_at,
        coalesce(code, 'accepted') as outcome,
        count(*) as event_count,
        quantile_cont({{ seconds_between('occurred_at', 'received_at') }}, 0.5) as lag_p50_seconds,
        quantile_cont({{ seconds_between('occurred_at', 'received_at') }}, 0.95) as lag_p95_seconds,
    from events
    group by event_type, date_trunc('hour', received_at), coalesce(code, 'accepted')
)

select
    event_type,
    cast(
        coalesce(
            to_json(map(
                list(outcome order by outcome) filter (where outcome <> 'accepted'),
                list(event_count order by outcome) filter (where outcome <> 'accepted')
            )),
            '{}'
        ) as varchar
    ) as rejections_by_code,
    cast(sum(event_count) as bigint) as received_count,
    cast(coalesce(sum(event_count) filter (where outcome = 'accepted'), 0) as bigint) as accepted_count,
    cast(coalesce(sum(event_count) filter (where outcome <> 'accepted'), 0) as bigint) as rejected_count,
    max(lag_p50_seconds) as lag_p50_seconds,
    max(lag_p95_seconds) as lag_p95_seconds,
    received_hour_at,
from hourly
group by event_type, received_hour_at
