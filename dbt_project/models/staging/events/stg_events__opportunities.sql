with opportunities as (
    select * from {{ source('raw_events', 'opportunities') }}
    where {{ is_complete('raw_events') }}
)

select
    system,
    record_id,
    account_id as account_record_id,
    contact_ids,
    -- A webhook carries its system's own word, as a poll does: the same deal is in the same stage whoever told it.
    coalesce(
        case system
            when 'hubspot' then {{ canonical_value('opportunity_stage', 'hubspot', 'stage') }}
            when 'salesforce' then {{ canonical_value('opportunity_stage', 'salesforce', 'stage') }}
        end,
        case when system = 'salesforce' then lower(replace(stage, ' ', '_')) else stage end
    ) as stage,
    amount_usd,
    product_line,
    created_at,
    closed_at,
    is_won,
    owner_id,
    coalesce(is_deleted, false) as is_deleted,
    false as is_full_state,
    coalesce(from_json(null_fields, '["VARCHAR"]'), []) as null_fields,
    seq,
    occurred_at,
    received_at,
    _dlt_load_id as load_id,
from opportunities
