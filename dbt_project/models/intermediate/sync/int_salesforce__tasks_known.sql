{{ config(materialized='incremental', incremental_strategy='append', indexes=[{'columns': ['task_key']}]) }}

-- Follow-up tasks that exist in Salesforce or did: polled, or confirmed by a receipt before the next poll.
with seen as (
    select handoff_task_key as task_key
    from {{ ref('stg_salesforce__tasks') }}
    where
        handoff_task_key is not null
        and {{ is_new() if is_incremental() else 'true' }}
    union
    select external_id as task_key
    from {{ ref('stg_events__receipts') }}
    where
        system = 'salesforce'
        and object = 'Task'
        and status in ('confirmed', 'superseded')
        and {{ is_new() if is_incremental() else 'true' }}
)

select * from seen
{% if is_incremental() %}
    where task_key not in (select task_key from {{ this }})
{% endif %}
