{{ config(
    materialized='incremental',
    incremental_strategy='append',
    indexes=[{'columns': ['record_key']}, {'columns': ['occurred_at']}],
    pre_hook="{% if is_incremental() %}delete from {{ this }} where {{ is_new() }}{% endif %}",
) }}

-- Kept as a table, so that what a batch says of a record finds that record's other versions by a number, and reads no documents again.
-- What an attempt that died had appended goes first.

with versions as (
    {{ union_by_name([
        ref('stg_events__contacts'),
        ref('stg_hubspot__contacts'),
        ref('stg_marketo__leads'),
        ref('stg_marketo__deletions'),
        ref('stg_salesforce__leads'),
        ref('stg_salesforce__contacts'),
        ref('stg_calendly__contacts'),
        ref('stg_calcom__contacts'),
    ]) }}
)

select
    * exclude (seq), -- noqa: AM04
    coalesce(seq, 0) as seq,
    row(occurred_at, received_at, coalesce(seq, 0)) as version_order,
from versions
{% if is_incremental() %}
    where {{ is_new() }}
{% endif %}
