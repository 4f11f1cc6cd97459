{{ config(
    materialized='incremental',
    incremental_strategy='append',
    indexes=[{'columns': ['surviving_id']}],
    pre_hook="{% if is_incremental() %}delete from {{ this }} where {{ is_new() }}{% endif %}",
) }}

-- The one place where merges of all systems meet. Kept as a table, so that no batch reads everything a MAP told for them; what an attempt
-- that died had appended goes first.
with directives as (
    {{ union_by_name([ref('stg_events__merges'), ref('stg_hubspot__merges'), ref('stg_marketo__merges')]) }}
)

select
    system,
    surviving_id,
    merged_id,
    is_unmerge,
    occurred_at,
    received_at,
    coalesce(seq, 0) as seq,
    load_id,
from directives
{% if is_incremental() %}
    where {{ is_new() }}
{% endif %}
