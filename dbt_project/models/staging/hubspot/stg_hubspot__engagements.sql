-- An engagement with several contacts is an activity of each of them, so the id says whose it is, as in exports.
with engagements as (
    {% for kind in ['calls', 'emails', 'meetings', 'notes', 'tasks'] %}
    select
        '{{ kind }}' as kind,
        record_id,
        updated_at,
        is_deleted,
        payload,
        received_at,
        _dlt_load_id as load_id,
    from {{ source('raw_hubspot', kind) }}
    where {{ is_complete('raw_hubspot') }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

attended as (
    select
        *,
        json_extract(payload, '$.properties') as properties,
        unnest(json_extract_string(payload, '$.associations.contacts.results[*].id')) as contact_id,
    from engagements
)

select
    'hubspot' as system,
    record_id || '/' || contact_id as activity_id,
    case kind
        when 'calls' then 'call'
        when 'emails'
            then {{ canonical_value('activity_type', 'hubspot', json_text('properties', 'hs_email_direction')) }}
        when 'meetings' then 'meeting_booked'
        when 'notes' then 'note'
        else 'task'
    end as activity_type,
    contact_id,
    -- A merge hands the engagement to another contact: for whoever has both it is one.
    'engagement/' || record_id as occurrence_key,
    is_deleted
    or case kind
        -- A call is one when somebody was reached.
        when 'calls' then coalesce({{ json_text('properties', 'hs_call_status') }}, 'COMPLETED') <> 'COMPLETED'
        when 'emails' then coalesce({{ json_text('properties', 'hs_email_status') }}, 'SENT') not in ('SENT', 'BOUNCED')
        when 'tasks' then coalesce({{ json_text('properties', 'hs_task_status') }}, '') <> 'COMPLETED'
        else false
    end as is_withdrawn,
    coalesce(
        case kind
            when 'meetings' then {{ instant_of(json_text('properties', 'hs_createdate')) }}
            when 'tasks' then {{ instant_of(json_text('properties', 'hs_task_completion_date')) }}
        end,
        {{ instant_of(json_text('properties', 'hs_timestamp')) }},
        {{ instant_of(json_text('properties', 'hs_createdate')) }},
        updated_at
    ) as occurred_at,
    updated_at as changed_at,
    received_at,
    load_id,
from attended
