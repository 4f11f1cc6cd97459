{{ config(
    materialized='incremental',
    incremental_strategy='append',
    indexes=[{'columns': ['record_key']}],
    pre_hook="{% if is_incremental() %}delete from {{ this }} where {{ is_new() }}{% endif %}",
) }}

-- Kept as a table, so that a batch finds what was said of its people by a number. What an attempt that died had appended goes first.
select
    {{ record_key('system', record_type_of('system', 'contact_id'), 'contact_id') }} as record_key,
    stage_change_record_id,
    from_stage,
    to_stage,
    reason,
    occurred_at,
    received_at,
    load_id,
from {{ ref('stg_events__stage_changes') }}
{% if is_incremental() %}
    where {{ is_new() }}
{% endif %}
