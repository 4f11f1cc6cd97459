{{ config(materialized='view') }}

with versions as (
    {{ union_by_name([
        ref('stg_events__contacts'),
        ref('stg_hubspot__contacts'),
        ref('stg_salesforce__leads'),
        ref('stg_salesforce__contacts'),
    ]) }}
)

select
    * exclude (seq), -- noqa: AM04
    coalesce(seq, 0) as seq,
    row(occurred_at, received_at, coalesce(seq, 0)) as version_order,
from versions
