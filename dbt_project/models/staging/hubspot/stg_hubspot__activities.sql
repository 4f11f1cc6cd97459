with occurrences as (
    select
        *,
        json_extract(payload, '$.properties') as properties,
        {{ canonical_value('activity_type', 'hubspot', json_text('payload', 'eventType')) }} as activity_type,
    from {{ source('raw_hubspot', 'events') }}
    where {{ is_complete('raw_hubspot') }}
)

select
    'hubspot' as system,
    record_id as activity_id,
    activity_type,
    {{ json_text('payload', 'objectId') }} as contact_id,
    {{ json_text('properties', 'hs_url') }} as url,
    {{ json_text('properties', 'hs_referrer') }} as referrer,
    {{ json_text('properties', 'utm_source') }} as utm_source,
    {{ json_text('properties', 'utm_medium') }} as utm_medium,
    {{ json_text('properties', 'utm_campaign') }} as utm_campaign,
    {{ json_text('properties', 'hs_campaign_id') }} as campaign_id,
    {{ json_text('properties', 'hs_form_id') }} as form_id,
    {{ told_twice('activity_type', json_text('properties', 'hs_form_id'), 'updated_at') }} as occurrence_key,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from occurrences
