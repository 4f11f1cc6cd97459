with answers as (
    select * from {{ source('raw_enrichment', 'companies') }}
    where {{ is_complete('raw_enrichment') }}
)

select
    {{ json_text('payload', 'provider') }} as provider,
    {{ json_text('payload', 'domain') }} as domain,
    not is_deleted as is_found,
    json_extract(payload, '$.company') as company,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from answers
