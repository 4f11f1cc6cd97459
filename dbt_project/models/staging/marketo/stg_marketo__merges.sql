with activities as (
    select * from {{ source('raw_marketo', 'activities') }}
    where
        {{ is_complete('raw_marketo') }}
        and {{ json_text('payload', 'activityType') }} = 'Merge Leads'
),

told as (
    select
        {{ json_text('payload', 'leadId') }} as surviving_id,
        -- A list, or its text: [1286861, 1286862].
        string_split(translate({{ marketo_attribute('Merge IDs') }}, '[]" ', ''), ',') as merged_ids,
        updated_at as occurred_at,
        received_at,
        _dlt_load_id as load_id,
    from activities
),

listed as (
    select
        surviving_id,
        unnest(merged_ids) as merged_id,
        occurred_at,
        received_at,
        load_id,
    from told
)

select
    'marketo' as system,
    surviving_id,
    merged_id,
    false as is_unmerge,
    occurred_at,
    received_at,
    load_id,
from listed
where merged_id <> '' and merged_id <> surviving_id
