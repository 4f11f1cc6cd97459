with accounts as (
    select * from {{ source('raw_salesforce', 'accounts') }}
    where {{ is_complete('raw_salesforce') }}
)

select
    'salesforce' as system,
    record_id,
    {{ json_text('payload', 'Name') }} as name,
    regexp_replace(lower({{ json_text('payload', 'Website') }}), '^(https?://)?(www\.)?|/.*$', '', 'g') as domain,
    {{ json_text('payload', 'Industry') }} as industry,
    try_cast({{ json_text('payload', 'NumberOfEmployees') }} as bigint) as employee_count,
    try_cast({{ json_text('payload', 'AnnualRevenue') }} as decimal(18, 2)) as annual_revenue_usd,
    {{ json_text('payload', 'BillingCountryCode') }} as country,
    {{ json_text('payload', 'OwnerId') }} as owner_id,
    {{ json_text('payload', 'ParentId') }} as parent_id,
    string_split({{ json_text('payload', 'MasterRecordId') }}, ',') as linked_record_ids,
    is_deleted,
    true as is_full_state,
    cast([] as varchar[]) as null_fields,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from accounts
