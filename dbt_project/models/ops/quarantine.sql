-- What was not accepted, without the payload: that stays in the log, where replay reads it and erasure reaches it.
with rejections as (
    select * from {{ source('raw_events', 'rejections') }}
    where {{ is_complete('raw_events') }}
),

outcomes as (
    select * from {{ source('raw_events', 'rejection_outcomes') }}
    where {{ is_complete('raw_events') }}
),

newest as (
    select * from outcomes
    qualify row_number() over (partition by quarantine_id order by seq desc) = 1
)

select
    rejections.seq as quarantine_id,
    case
        when newest.outcome is null then 'open'
        when newest.outcome = 'refused' then 'refused'
        else 'replayed'
    end as status,
    rejections.door,
    rejections.event_source,
    rejections.event_id,
    rejections.event_type,
    rejections.contract_version,
    rejections.code,
    rejections.path,
    rejections.message,
    rejections.correlation_id,
    newest.event_seq,
    newest.code as replay_code,
    newest.message as replay_message,
    rejections.received_at,
    newest.received_at as replayed_at,
from rejections
left join newest on rejections.seq = newest.quarantine_id
