with leads as (
    select * from {{ source('raw_salesforce', 'leads') }}
    where {{ is_complete('raw_salesforce') }}
)

select
    {{ record_key("'salesforce'", "'lead'", 'record_id') }} as record_key,
    'salesforce' as system,
    'lead' as record_type,
    record_id,
    {{ json_text('payload', 'Email') }} as email,
    {{ json_text('payload', 'Phone') }} as phone,
    {{ json_text('payload', 'FirstName') }} as first_name,
    {{ json_text('payload', 'LastName') }} as last_name,
    coalesce({{ json_text('payload', 'CountryCode') }}, {{ json_text('payload', 'Country') }}) as country,
    {{ json_text('payload', 'Company') }} as company,
    {{ json_text('payload', 'Title') }} as job_title,
    {{ json_text('payload', 'LeadSource') }} as original_source,
    {{ json_text('payload', 'OwnerId') }} as owner_id,
    {{ canonical_value('lifecycle_stage', 'salesforce', json_text('payload', 'Status')) }} as lifecycle_stage,
    {{ json_text('payload', 'ConvertedContactId') }} as converted_contact_id,
    {{ json_text('payload', 'MasterRecordId') }} as master_record_id,
    {{ json_text('payload', 'Handoff_Person_Id__c') }} as handoff_person_id,
    {{ json_text('payload', 'Handoff_Reasons__c') }} as handoff_reasons,
    try_cast({{ json_text('payload', 'Handoff_Score__c') }} as double) as handoff_score,
    coalesce(try_cast({{ json_text('payload', 'IsConverted') }} as boolean), false) as is_converted,
    is_deleted,
    true as is_full_state,
    cast([] as varchar[]) as null_fields,
    {{ instant_of(json_text('payload', 'Handoff_Mql_At__c')) }} as handoff_mql_at,
    {{ instant_of(json_text('payload', 'ConvertedDate')) }} as converted_at,
    coalesce({{ instant_of(json_text('payload', 'CreatedDate')) }}, updated_at) as created_at,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from leads
