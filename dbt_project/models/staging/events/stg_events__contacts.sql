with contacts as (
    select * from {{ source('raw_events', 'contacts') }}
    where {{ is_complete('raw_events') }}
)

select
    {{ record_key('system', record_type_of('system', 'record_id'), 'record_id') }} as record_key,
    system,
    {{ record_type_of('system', 'record_id') }} as record_type,
    record_id,
    email,
    phone,
    first_name,
    last_name,
    birth_date,
    street_address,
    city,
    region,
    postal_code,
    country,
    company,
    job_title,
    external_ids,
    original_source,
    latest_source,
    campaign_id,
    owner_id,
    lifecycle_stage,
    custom,
    coalesce(is_deleted, false) as is_deleted,
    false as is_full_state,
    coalesce(from_json(null_fields, '["VARCHAR"]'), []) as null_fields,
    seq,
    occurred_at,
    received_at,
    _dlt_load_id as load_id,
from contacts
