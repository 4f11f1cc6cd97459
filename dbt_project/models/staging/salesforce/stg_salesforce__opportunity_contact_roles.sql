with roles as (
    select * from {{ source('raw_salesforce', 'opportunity_contact_roles') }}
    where {{ is_complete('raw_salesforce') }}
)

select
    'salesforce' as system,
    record_id,
    {{ json_text('payload', 'OpportunityId') }} as opportunity_record_id,
    {{ json_text('payload', 'ContactId') }} as contact_id,
    coalesce(try_cast({{ json_text('payload', 'IsPrimary') }} as boolean), false) as is_primary,
    is_deleted,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from roles
