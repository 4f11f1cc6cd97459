-- HubSpot keeps consent as two properties of the contact; each version that changes them is one consent record.
with contacts as (
    select
        *,
        json_extract(payload, '$.properties') as properties,
    from {{ source('raw_hubspot', 'contacts') }}
    where {{ is_complete('raw_hubspot') }}
),

stated as (
    select
        record_id,
        {{ json_text('properties', 'hs_legal_basis') }} as legal_basis,
        case
            when lower({{ json_text('properties', 'hs_email_optout') }}) = 'true' then 'withdrawn'
            when {{ json_text('properties', 'hs_legal_basis') }} is not null then 'granted'
        end as status,
        updated_at,
        received_at,
        _dlt_load_id as load_id,
    from contacts
),

compared as (
    select
        *,
        lag(concat_ws('|', status, legal_basis)) over (
            partition by record_id
            order by updated_at, received_at
        ) as former_state,
    from stated
)

select
    'hubspot/' || record_id || '/' || epoch_us(updated_at) as consent_record_id,
    'hubspot' as system,
    record_id as contact_id,
    'email' as channel,
    'marketing' as purpose,
    case
        when legal_basis like 'Legitimate interest%' then 'legitimate_interest'
        when legal_basis like 'Freely given consent%' then 'consent'
        when legal_basis like 'Performance of a contract%' then 'contract'
        else 'not_applicable'
    end as lawful_basis,
    status,
    'hubspot contact property' as source,
    updated_at as occurred_at,
    received_at,
    load_id,
from compared
where
    status is not null
    and concat_ws('|', status, legal_basis) is distinct from former_state
