{% set stated_columns = [
    'account_record_id', 'contact_ids', 'stage', 'amount_usd', 'product_line', 'created_at', 'closed_at', 'is_won', 'owner_id',
] %}

with unioned as (
    {{ union_by_name([
        ref('stg_events__opportunities'),
        ref('stg_hubspot__deals'),
        ref('stg_salesforce__opportunities'),
    ]) }}
),

versions as (
    select
        *,
        row(occurred_at, received_at, coalesce(seq, 0)) as version_order,
    from unioned
    where occurred_at <= {{ as_of() }}
)

select
    system,
    record_id,
    {% for column in stated_columns %}
    {{ latest_value(column) }},
    {% endfor %}
    arg_max(is_deleted, version_order) as is_deleted,
    min(occurred_at) as first_occurred_at,
    max(occurred_at) as last_occurred_at,
    min(received_at) as first_received_at,
from versions
group by system, record_id
