with leads as (
    select * from {{ source('raw_marketo', 'leads') }}
    where {{ is_complete('raw_marketo') }}
)

select
    {{ record_key("'marketo'", "'contact'", 'record_id') }} as record_key,
    'marketo' as system,
    'contact' as record_type,
    record_id,
    {{ json_text('payload', 'email') }} as email,
    coalesce({{ json_text('payload', 'phone') }}, {{ json_text('payload', 'mobilePhone') }}) as phone,
    {{ json_text('payload', 'firstName') }} as first_name,
    {{ json_text('payload', 'lastName') }} as last_name,
    cast(try_cast({{ json_text('payload', 'dateOfBirth') }} as date) as varchar) as birth_date,
    {{ json_text('payload', 'address') }} as street_address,
    {{ json_text('payload', 'city') }} as city,
    {{ json_text('payload', 'state') }} as region,
    {{ json_text('payload', 'postalCode') }} as postal_code,
    -- Marketo lets anything be a country; the webhook takes codes alone, and both tell of one record.
    case
        when regexp_full_match({{ json_text('payload', 'country') }}, '[A-Za-z]{2}')
            then upper({{ json_text('payload', 'country') }})
    end as country,
    {{ json_text('payload', 'company') }} as company,
    {{ json_text('payload', 'title') }} as job_title,
    -- Set by Marketo's own Salesforce sync.
    nullif(
        to_json(
            list_filter(
                [
                    struct_pack(system := 'salesforce', record_id := {{ json_text('payload', 'sfdcLeadId') }}),
                    struct_pack(system := 'salesforce', record_id := {{ json_text('payload', 'sfdcContactId') }})
                ],
                lambda stated: struct_extract(stated, 'record_id') is not null
            )
        ),
        '[]'
    ) as external_ids,
    {{ json_text('payload', 'leadSource') }} as original_source,
    {{ json_text('payload', 'acquisitionProgramId') }} as campaign_id,
    {{ canonical_value('lifecycle_stage', 'marketo', json_text('payload', 'leadStatus')) }} as lifecycle_stage,
    is_deleted,
    true as is_full_state,
    cast([] as varchar[]) as null_fields,
    coalesce({{ instant_of(json_text('payload', 'createdAt')) }}, updated_at) as created_at,
    -- The poll's time is that of the change that made it read the lead; what it read may be newer.
    coalesce({{ instant_of(json_text('payload', 'updatedAt')) }}, updated_at) as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from leads
