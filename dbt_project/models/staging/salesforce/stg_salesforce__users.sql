with users as (
    select * from {{ source('raw_salesforce', 'users') }}
    where {{ is_complete('raw_salesforce') }}
)

select
    'salesforce' as system,
    record_id,
    {{ json_text('payload', 'Email') }} as email,
    {{ json_text('payload', 'Name') }} as name,
    {{ json_text('payload', 'TimeZoneSidKey') }} as time_zone,
    case
        when {{ json_text('payload', 'Handoff_Territories__c') }} is not null
            then to_json(string_split({{ json_text('payload', 'Handoff_Territories__c') }}, ';'))
    end as territories,
    try_cast({{ json_text('payload', 'Handoff_Capacity__c') }} as bigint) as capacity,
    try_cast({{ json_text('payload', 'Handoff_Weight__c') }} as double) as weight,
    {{ json_text('payload', 'Handoff_Working_Hours__c') }} as working_hours,
    coalesce(try_cast({{ json_text('payload', 'IsActive') }} as boolean), true) and not is_deleted as is_active,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from users
