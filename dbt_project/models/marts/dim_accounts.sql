with accounts as (
    select * from {{ ref('int_accounts__current') }}
),

people as (
    select
        account_id,
        count(distinct person_id) as person_count,
    from {{ ref('entity_map') }}
    where person_id is not null and account_id is not null
    group by account_id
),

grouped as (
    select
        account_id,
        min(name) filter (where not is_deleted) as name,
        max(domain) as domain,
        max(industry) as industry,
        max(employee_count) as employee_count,
        max(annual_revenue_usd) as annual_revenue_usd,
        max(country) as country,
        max(region) as region,
        bool_and(is_deleted) as is_deleted,
        count(*) as record_count,
        min(first_received_at) as first_received_at,
    from accounts
    group by account_id
)

select
    grouped.account_id,
    grouped.name,
    grouped.domain,
    grouped.industry,
    grouped.country,
    grouped.region,
    grouped.annual_revenue_usd,
    grouped.employee_count,
    grouped.record_count,
    coalesce(people.person_count, 0) as person_count,
    grouped.is_deleted,
    grouped.first_received_at,
from grouped
left join people on grouped.account_id = people.account_id
