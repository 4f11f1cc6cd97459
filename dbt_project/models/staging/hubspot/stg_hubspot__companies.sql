with companies as (
    select
        *,
        json_extract(payload, '$.properties') as properties,
    from {{ source('raw_hubspot', 'companies') }}
    where {{ is_complete('raw_hubspot') }}
)

select
    'hubspot' as system,
    record_id,
    {{ json_text('properties', 'name') }} as name,
    {{ json_text('properties', 'domain') }} as domain,
    {{ json_text('properties', 'industry') }} as industry,
    try_cast({{ json_text('properties', 'numberofemployees') }} as bigint) as employee_count,
    try_cast({{ json_text('properties', 'annualrevenue') }} as decimal(18, 2)) as annual_revenue_usd,
    {{ json_text('properties', 'country') }} as country,
    {{ json_text('properties', 'state') }} as region,
    {{ json_text('properties', 'hubspot_owner_id') }} as owner_id,
    {{ json_text('properties', 'hs_parent_company_id') }} as parent_id,
    string_split({{ json_text('properties', 'hs_merged_object_ids') }}, ';') as linked_record_ids,
    is_deleted,
    true as is_full_state,
    cast([] as varchar[]) as null_fields,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from companies
