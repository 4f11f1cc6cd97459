-- A contact names every contact that was merged into it, and since when for the newer ones. HubSpot takes no merge back, so one of unknown
-- date counts as made with the contact: an unmerge that somebody states stays the newer word, however often the contact changes after it.
with contacts as (
    select
        record_id,
        received_at,
        _dlt_load_id as load_id,
        coalesce({{ instant_of(json_text('payload', 'properties.createdate')) }}, updated_at) as created_at,
        string_split({{ json_text('payload', 'properties.hs_calculated_merged_vids') }}, ';') as audit,
        unnest(
            list_distinct(
                list_concat(
                    string_split({{ json_text('payload', 'properties.hs_merged_object_ids') }}, ';'),
                    list_transform(
                        string_split({{ json_text('payload', 'properties.hs_calculated_merged_vids') }}, ';'),
                        lambda pair: split_part(pair, ':', 1)
                    )
                )
            )
        ) as merged_id,
    from {{ source('raw_hubspot', 'contacts') }}
    where
        {{ is_complete('raw_hubspot') }}
        and coalesce(
            {{ json_text('payload', 'properties.hs_merged_object_ids') }},
            {{ json_text('payload', 'properties.hs_calculated_merged_vids') }}
        ) is not null
),

dated as (
    select
        *,
        try_cast(
            split_part(list_filter(audit, lambda pair: split_part(pair, ':', 1) = merged_id)[1], ':', 2) as bigint
        ) as stamp,
    from contacts
)

select
    'hubspot' as system,
    record_id as surviving_id,
    trim(merged_id) as merged_id,
    false as is_unmerge,
    coalesce(
        case
            -- Milliseconds; older portals have seconds.
            when stamp between 1 and 99999999999 then to_timestamp(stamp)
            when stamp > 0 then epoch_ms(stamp) at time zone 'UTC'
        end,
        created_at
    ) as occurred_at,
    received_at,
    load_id,
from dated
where trim(merged_id) not in ('', record_id)
