with members as (
    select * from {{ source('raw_salesforce', 'campaign_members') }}
    where {{ is_complete('raw_salesforce') }}
)

-- Every version, also of who has not responded or no longer: an answer entered by mistake is taken back by the version that says so.
select
    'salesforce' as system,
    record_id as activity_id,
    'campaign_response' as activity_type,
    -- A converted lead's member names both; the contact is who it is now.
    coalesce({{ json_text('payload', 'ContactId') }}, {{ json_text('payload', 'LeadId') }}) as contact_id,
    {{ json_text('payload', 'CampaignId') }} as campaign_id,
    is_deleted or not coalesce(try_cast({{ json_text('payload', 'HasResponded') }} as boolean), false) as is_withdrawn,
    coalesce({{ instant_of(json_text('payload', 'FirstRespondedDate')) }}, updated_at) as occurred_at,
    updated_at as changed_at,
    received_at,
    _dlt_load_id as load_id,
from members
