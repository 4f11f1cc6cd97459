{{ config(materialized='incremental', incremental_strategy='append', indexes=[{'columns': ['external_id']}, {'columns': ['record_id']}]) }}

-- Which lead a confirmed write was answered with; kept, so that a batch does not read every receipt again.
with receipts as (
    select distinct
        external_id,
        record_id,
    from {{ ref('stg_events__receipts') }}
    where
        system = 'salesforce'
        and object = 'Lead'
        and status in ('confirmed', 'superseded')
        and record_id is not null
        and {{ is_new() if is_incremental() else 'true' }}
)

select * from receipts
{% if is_incremental() %}
    where (external_id, record_id) not in (select (external_id, record_id) from {{ this }})
{% endif %}
