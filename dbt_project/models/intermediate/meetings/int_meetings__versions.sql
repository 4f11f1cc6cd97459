{{ config(materialized='incremental', incremental_strategy='append') }}

-- Kept as a table, so that a batch reads no documents of meetings again. Batches of decisions pass it over: what is new is what was loaded
-- after its own newest row, not since the last transform. One writer loads one after the other, so ids of loads grow.
{% set newest = newest_load() %}

with versions as (
    {{ union_by_name([
        ref('stg_events__meetings'),
        ref('stg_calendar__meetings'),
        ref('stg_caldav__meetings'),
        ref('stg_hubspot__meetings'),
        ref('stg_salesforce__meetings'),
    ]) }}
)

select
    system,
    meeting_id,
    contact_id,
    attendee_email,
    rep_id,
    rep_email,
    time_zone,
    status,
    calendar_uid,
    starts_at,
    ends_at,
    booked_at,
    occurred_at,
    received_at,
    coalesce(seq, 0) as seq,
    load_id,
from versions
{% if is_incremental() %}
    where load_id > '{{ newest }}'
{% endif %}
