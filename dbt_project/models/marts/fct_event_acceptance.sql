with events as (
    select * from {{ ref('stg_events__acceptances') }}
),

outcomes as (
    select
        event_type,
        date_trunc('hour', received_at) as received_hour_at,
        coalesce(code, 'accepted') as outcome,
        count(*) as event_count,
    from events
    group by event_type, date_trunc('hour', received_at), coalesce(code, 'accepted')
),

-- Percentiles cannot be put together from those of parts, so they are taken over all accepted events of the hour at once.
lags as (
    select
        event_type,
        date_trunc('hour', received_at) as received_hour_at,
        quantile_cont({{ seconds_between('occurred_at', 'received_at') }}, 0.5) as lag_p50_seconds,
        quantile_cont({{ seconds_between('occurred_at', 'received_at') }}, 0.95) as lag_p95_seconds,
    from events
    where code is null
    group by event_type, date_trunc('hour', received_at)
)

select
    outcomes.event_type,
    cast(
        coalesce(
            to_json(map(
                list(outcomes.outcome order by outcomes.outcome) filter (where outcomes.outcome <> 'accepted'),
                list(outcomes.event_count order by outcomes.outcome) filter (where outcomes.outcome <> 'accepted')
            )),
            '{}'
        ) as varchar
    ) as rejections_by_code,
    cast(sum(outcomes.event_count) as bigint) as received_count,
    cast(coalesce(sum(outcomes.event_count) filter (where outcomes.outcome = 'accepted'), 0) as bigint) as accepted_count,
    cast(coalesce(sum(outcomes.event_count) filter (where outcomes.outcome <> 'accepted'), 0) as bigint) as rejected_count,
    any_value(lags.lag_p50_seconds) as lag_p50_seconds,
    any_value(lags.lag_p95_seconds) as lag_p95_seconds,
    outcomes.received_hour_at,
from outcomes
left join lags
    on outcomes.event_type = lags.event_type and outcomes.received_hour_at = lags.received_hour_at
group by outcomes.event_type, outcomes.received_hour_at
