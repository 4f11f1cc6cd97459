{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{% if is_incremental() %}delete from {{ this }} where {{ is_new() }}{% endif %}",
) }}

-- Kept as a table: identity asks for all of them, and a MAP tells its merges among everything else people did. What an attempt that died
-- had appended goes first.
with directives as (
    {{ union_by_name([ref('stg_events__merges'), ref('stg_marketo__merges')]) }}
)

select
    system,
    surviving_id,
    merged_id,
    is_unmerge,
    occurred_at,
    received_at,
    seq,
    load_id,
from directives
{% if is_incremental() %}
    where {{ is_new() }}
{% endif %}
