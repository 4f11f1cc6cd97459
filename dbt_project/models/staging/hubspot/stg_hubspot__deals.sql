with deals as (
    select
        *,
        json_extract(payload, '$.properties') as properties,
    from {{ source('raw_hubspot', 'deals') }}
    where {{ is_complete('raw_hubspot') }}
)

select
    'hubspot' as system,
    record_id,
    {{ json_text('payload', 'associations.companies.results[0].id') }} as account_record_id,
    nullif(to_json(json_extract_string(payload, '$.associations.contacts.results[*].id')), '[]') as contact_ids,
    -- Companies name their own stages: a word the registry does not know stays as it is.
    coalesce(
        {{ canonical_value('opportunity_stage', 'hubspot', json_text('properties', 'dealstage')) }},
        {{ json_text('properties', 'dealstage') }}
    ) as stage,
    try_cast({{ json_text('properties', 'amount') }} as decimal(18, 2)) as amount_usd,
    coalesce({{ instant_of(json_text('properties', 'createdate')) }}, updated_at) as created_at,
    -- While a deal is open the date is the one it is expected at.
    case
        when lower({{ json_text('properties', 'hs_is_closed') }}) = 'true'
            then {{ instant_of(json_text('properties', 'closedate')) }}
    end as closed_at,
    coalesce(lower({{ json_text('properties', 'hs_is_closed_won') }}) = 'true', false) as is_won,
    {{ json_text('properties', 'hubspot_owner_id') }} as owner_id,
    is_deleted,
    true as is_full_state,
    cast([] as varchar[]) as null_fields,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from deals
