with opportunities as (
    select * from {{ source('raw_salesforce', 'opportunities') }}
    where {{ is_complete('raw_salesforce') }}
)

select
    'salesforce' as system,
    record_id,
    {{ json_text('payload', 'AccountId') }} as account_record_id,
    case
        when {{ json_text('payload', 'ContactId') }} is not null
            then to_json([{{ json_text('payload', 'ContactId') }}])
    end as contact_ids,
    -- Companies name their own stages: a word the registry does not know stays as it is.
    coalesce(
        {{ canonical_value('opportunity_stage', 'salesforce', json_text('payload', 'StageName')) }},
        lower(replace({{ json_text('payload', 'StageName') }}, ' ', '_'))
    ) as stage,
    try_cast({{ json_text('payload', 'Amount') }} as decimal(18, 2)) as amount_usd,
    {{ instant_of(json_text('payload', 'CreatedDate')) }} as created_at,
    case
        when try_cast({{ json_text('payload', 'IsClosed') }} as boolean)
            then {{ instant_of(json_text('payload', 'CloseDate')) }}
    end as closed_at,
    coalesce(try_cast({{ json_text('payload', 'IsWon') }} as boolean), false) as is_won,
    {{ json_text('payload', 'OwnerId') }} as owner_id,
    is_deleted,
    true as is_full_state,
    cast([] as varchar[]) as null_fields,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from opportunities
