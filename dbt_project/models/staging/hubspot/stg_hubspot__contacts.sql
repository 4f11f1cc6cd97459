with contacts as (
    select
        *,
        json_extract(payload, '$.properties') as properties,
    from {{ source('raw_hubspot', 'contacts') }}
    where {{ is_complete('raw_hubspot') }}
)

select
    {{ record_key("'hubspot'", "'contact'", 'record_id') }} as record_key,
    'hubspot' as system,
    'contact' as record_type,
    record_id,
    {{ json_text('properties', 'email') }} as email,
    {{ json_text('properties', 'phone') }} as phone,
    {{ json_text('properties', 'firstname') }} as first_name,
    {{ json_text('properties', 'lastname') }} as last_name,
    {{ json_text('properties', 'city') }} as city,
    {{ json_text('properties', 'state') }} as region,
    {{ json_text('properties', 'zip') }} as postal_code,
    {{ json_text('properties', 'country') }} as country,
    {{ json_text('properties', 'company') }} as company,
    {{ json_text('properties', 'jobtitle') }} as job_title,
    {{ json_text('properties', 'hs_analytics_source') }} as original_source,
    {{ json_text('properties', 'hs_latest_source') }} as latest_source,
    {{ json_text('properties', 'hubspot_owner_id') }} as owner_id,
    {{ json_text('properties', 'associatedcompanyid') }} as account_record_id,
    {{ canonical_value('lifecycle_stage', 'hubspot', json_text('properties', 'lifecyclestage')) }} as lifecycle_stage,
    {{ json_text('properties', 'hs_legal_basis') }} as legal_basis,
    {{ json_text('properties', 'hs_email_optout') }} as email_optout,
    is_deleted,
    true as is_full_state,
    cast([] as varchar[]) as null_fields,
    coalesce({{ instant_of(json_text('properties', 'createdate')) }}, updated_at) as created_at,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from contacts
