with tasks as (
    select * from {{ source('raw_salesforce', 'tasks') }}
    where {{ is_complete('raw_salesforce') }}
)

select
    'salesforce' as system,
    record_id,
    {{ json_text('payload', 'WhoId') }} as who_id,
    {{ json_text('payload', 'OwnerId') }} as owner_id,
    {{ json_text('payload', 'Subject') }} as subject,
    {{ json_text('payload', 'Status') }} as status,
    {{ json_text('payload', 'Handoff_Task_Key__c') }} as handoff_task_key,
    is_deleted,
    {{ instant_of(json_text('payload', 'CompletedDateTime')) }} as completed_at,
    coalesce({{ instant_of(json_text('payload', 'CreatedDate')) }}, updated_at) as created_at,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from tasks
