{% set stated_columns = [
    'name', 'domain', 'industry', 'employee_count', 'annual_revenue_usd', 'country', 'region', 'owner_id', 'parent_id',
] %}

with unioned as (
    {{ union_by_name([
        ref('stg_events__accounts'),
        ref('stg_hubspot__companies'),
        ref('stg_salesforce__accounts'),
    ]) }}
),

versions as (
    select
        *,
        row(occurred_at, received_at, coalesce(seq, 0)) as version_order,
    from unioned
    where occurred_at <= {{ as_of() }}
),

newest as (
    select
        system,
        record_id,
        {% for column in stated_columns %}
        {{ latest_value(column) }},
        {% endfor %}
        arg_max(is_deleted, version_order) as is_deleted,
        max(occurred_at) as occurred_at,
        min(received_at) as first_received_at,
    from versions
    group by system, record_id
),

-- Everybody's mailbox is nobody's company.
keyed as (
    select
        newest.* exclude (domain),
        nullif(lower(trim(newest.domain)), '') as domain,
        case
            when free_mail.domain is null and nullif(trim(newest.domain), '') is not null
                then 'domain:' || lower(trim(newest.domain))
            else newest.system || ':' || newest.record_id
        end as account_group,
    from newest
    left join {{ ref('free_mail_domains') }} as free_mail on lower(trim(newest.domain)) = free_mail.domain
)

select
    first_value({{ guid(['system', "'account'", 'record_id']) }}) over (
        partition by account_group
        order by first_received_at, system, record_id
    ) as account_id,
    *,
from keyed
