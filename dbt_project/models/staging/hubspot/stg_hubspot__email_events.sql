with email_events as (
    select * from {{ source('raw_hubspot', 'email_events') }}
    where {{ is_complete('raw_hubspot') }}
),

typed as (
    select
        *,
        {{ canonical_value('activity_type', 'hubspot', json_text('payload', 'type')) }} as activity_type,
    from email_events
    -- HubSpot filters opens and clicks of machines, and says so.
    where coalesce({{ json_text('payload', 'filteredEvent') }}, 'false') <> 'true'
)

select
    'hubspot' as system,
    record_id as activity_id,
    activity_type,
    {{ json_text('payload', 'contactId') }} as contact_id,
    lower(trim({{ json_text('payload', 'recipient') }})) as email,
    {{ json_text('payload', 'url') }} as url,
    {{ told_twice('activity_type', 'cast(null as varchar)', 'updated_at') }} as occurrence_key,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from typed
