-- The e-mail log says when a recipient unsubscribed from everything, or came back. A change of one subscription among several is neither,
-- and a bounce says nothing about what somebody wants.
with changes as (
    select
        *,
        {{ json_text('payload', 'portalSubscriptionStatus') }} as portal_status,
        {{ json_text('payload', 'source') }} as changed_by,
    from {{ source('raw_hubspot', 'email_events') }}
    where
        {{ is_complete('raw_hubspot') }}
        and {{ json_text('payload', 'type') }} = 'STATUSCHANGE'
)

select
    -- Who the recipient is can be told anew; each is a statement of its own, whenever it was polled.
    'hubspot/email_events/' || record_id || '/' || row_hash as consent_record_id,
    'hubspot' as system,
    {{ json_text('payload', 'contactId') }} as contact_id,
    lower(trim({{ json_text('payload', 'recipient') }})) as email,
    'email' as channel,
    'marketing' as purpose,
    case portal_status when 'SUBSCRIBED' then 'consent' else 'not_applicable' end as lawful_basis,
    case portal_status when 'SUBSCRIBED' then 'granted' else 'withdrawn' end as status,
    'hubspot e-mail log' as source,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from changes
where
    portal_status = 'UNSUBSCRIBED'
    -- A yes is the recipient's own: what a user of the portal ticks is none.
    or (portal_status = 'SUBSCRIBED' and changed_by = 'SOURCE_RECIPIENT')
