-- What is known of a company, over all the records of it. Apart from dim_accounts, which counts people: a decision needs no such count.
with accounts as (
    select * from {{ ref('int_accounts__current') }}
)

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
