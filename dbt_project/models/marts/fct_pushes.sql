with receipts as (
    select * from {{ ref('stg_events__receipts') }}
    where received_at <= {{ as_of() }}
),

newest as (
    select
        *,
        row_number() over (
            partition by operation_id, plan_id
            order by (status = 'sent'), received_at desc, seq desc
        ) as recency,
    from receipts
)

select
    operation_id,
    plan_id,
    any_value(person_id) as person_id,
    any_value(system) as system,
    any_value(object) as object,
    any_value(action) as action,
    any_value(external_id) as external_id,
    max(record_id) as record_id,
    arg_min(status, recency) as status,
    arg_min(code, recency) as error_code,
    arg_min(message, recency) as error_message,
    cast(coalesce(any_value(reasons), '[]') as varchar) as reasons,
    any_value(trace_parent) as trace_parent,
    arg_min(status, recency) = 'confirmed' as is_confirmed,
    min(planned_at) as planned_at,
    min(sent_at) as sent_at,
    max(answered_at) as answered_at,
    max(confirmed_at) as confirmed_at,
from newest
group by operation_id, plan_id
