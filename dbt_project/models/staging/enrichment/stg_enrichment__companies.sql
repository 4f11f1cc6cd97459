-- What providers told of companies, as account records; a domain nobody ever knew is no account.
with answers as (
    select
        *,
        json_extract(payload, '$.company') as company,
        bool_or(not is_deleted) over (partition by record_id) as was_ever_found,
    from {{ source('raw_enrichment', 'companies') }}
    where {{ is_complete('raw_enrichment') }}
)

select
    'enrichment' as system,
    record_id,
    {{ json_text('payload', 'provider') }} as provider,
    {{ json_text('company', 'name') }} as name,
    {{ json_text('payload', 'domain') }} as domain,
    {{ json_text('company', 'industry') }} as industry,
    try_cast({{ json_text('company', 'employee_count') }} as bigint) as employee_count,
    try_cast({{ json_text('company', 'annual_revenue_usd') }} as decimal(18, 2)) as annual_revenue_usd,
    {{ json_text('company', 'country') }} as country,
    {{ json_text('company', 'region') }} as region,
    is_deleted,
    true as is_full_state,
    cast([] as varchar[]) as null_fields,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from answers
where was_ever_found
