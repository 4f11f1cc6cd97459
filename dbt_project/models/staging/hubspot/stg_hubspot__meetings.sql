-- A meeting with several contacts is one of each of them, so the id says whose it is, as in exports.
with meetings as (
    select
        *,
        json_extract(payload, '$.properties') as properties,
        unnest(json_extract_string(payload, '$.associations.contacts.results[*].id')) as contact_id,
    from {{ source('raw_hubspot', 'meetings') }}
    where {{ is_complete('raw_hubspot') }}
)

select
    'hubspot' as system,
    record_id || '/' || contact_id as meeting_id,
    contact_id,
    cast(null as varchar) as attendee_email,
    {{ json_text('properties', 'hubspot_owner_id') }} as rep_id,
    cast(null as varchar) as rep_email,
    {{ instant_of(json_text('properties', 'hs_meeting_start_time')) }} as starts_at,
    {{ instant_of(json_text('properties', 'hs_meeting_end_time')) }} as ends_at,
    cast(null as varchar) as time_zone,
    case
        when is_deleted then 'cancelled'
        else coalesce(
            {{ canonical_value('meeting_status', 'hubspot', json_text('properties', 'hs_meeting_outcome')) }}, 'booked'
        )
    end as status,
    -- HubSpot keeps the id of the calendar's event that a meeting came from or was written to.
    split_part({{ json_text('properties', 'hs_engagement_source_id') }}, '@', 1) as calendar_uid,
    coalesce({{ instant_of(json_text('properties', 'hs_createdate')) }}, updated_at) as booked_at,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from meetings
