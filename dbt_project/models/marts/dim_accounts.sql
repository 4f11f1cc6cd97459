with accounts as (
    select * from {{ ref('int_accounts__grouped') }}
),

people as (
    select
        account_id,
        count(distinct person_id) as person_count,
    from {{ ref('entity_map') }}
    where person_id is not null and account_id is not null
    group by account_id
)

select
    accounts.account_id,
    accounts.name,
    accounts.domain,
    accounts.industry,
    accounts.country,
    accounts.region,
    accounts.annual_revenue_usd,
    accounts.employee_count,
    accounts.record_count,
    coalesce(people.person_count, 0) as person_count,
    accounts.is_deleted,
    accounts.first_received_at,
from accounts
left join people on accounts.account_id = people.account_id
