-- A row for each change of stage, amount or close date; the same stage twice is for the models behind to see.
with history as (
    select * from {{ source('raw_salesforce', 'opportunity_history') }}
    where {{ is_complete('raw_salesforce') }}
)

select
    'salesforce' as system,
    {{ json_text('payload', 'OpportunityId') }} as record_id,
    coalesce(
        {{ canonical_value('opportunity_stage', 'salesforce', json_text('payload', 'StageName')) }},
        lower(replace({{ json_text('payload', 'StageName') }}, ' ', '_'))
    ) as stage,
    coalesce({{ instant_of(json_text('payload', 'CreatedDate')) }}, updated_at) as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from history
where {{ json_text('payload', 'OpportunityId') }} is not null and {{ json_text('payload', 'StageName') }} is not null
