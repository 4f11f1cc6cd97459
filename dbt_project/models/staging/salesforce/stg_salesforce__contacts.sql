with contacts as (
    select * from {{ source('raw_salesforce', 'contacts') }}
    where {{ is_complete('raw_salesforce') }}
)

select
    {{ record_key("'salesforce'", "'contact'", 'record_id') }} as record_key,
    'salesforce' as system,
    'contact' as record_type,
    record_id,
    {{ json_text('payload', 'Email') }} as email,
    {{ json_text('payload', 'Phone') }} as phone,
    {{ json_text('payload', 'FirstName') }} as first_name,
    {{ json_text('payload', 'LastName') }} as last_name,
    {{ json_text('payload', 'MailingCountryCode') }} as country,
    {{ json_text('payload', 'Title') }} as job_title,
    {{ json_text('payload', 'OwnerId') }} as owner_id,
    {{ json_text('payload', 'AccountId') }} as account_record_id,
    {{ json_text('payload', 'MasterRecordId') }} as master_record_id,
    is_deleted,
    true as is_full_state,
    cast([] as varchar[]) as null_fields,
    coalesce({{ instant_of(json_text('payload', 'CreatedDate')) }}, updated_at) as created_at,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from contacts
