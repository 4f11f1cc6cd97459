-- Each version of a deal repeats the stages it went through; the same one twice is for the models behind to see.
with deals as (
    select
        record_id,
        received_at,
        _dlt_load_id as load_id,
        unnest(from_json(json_extract(payload, '$.propertiesWithHistory.dealstage'), '["JSON"]')) as entry,
    from {{ source('raw_hubspot', 'deals') }}
    where {{ is_complete('raw_hubspot') }}
)

select
    'hubspot' as system,
    record_id,
    coalesce(
        {{ canonical_value('opportunity_stage', 'hubspot', json_text('entry', 'value')) }},
        {{ json_text('entry', 'value') }}
    ) as stage,
    {{ instant_of(json_text('entry', 'timestamp')) }} as occurred_at,
    received_at,
    load_id,
from deals
where {{ json_text('entry', 'value') }} is not null
