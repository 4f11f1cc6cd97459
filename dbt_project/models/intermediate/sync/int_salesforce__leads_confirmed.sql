{{ config(materialized='incremental', incremental_strategy='append') }}

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
        {% if is_incremental() %}
            and {{ is_new() }}
        {% endif %}
)

select * from receipts
{% if is_incremental() %}
    where (external_id, record_id) not in (select (external_id, record_id) from {{ this }})
{% endif %}
