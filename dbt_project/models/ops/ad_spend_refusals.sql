-- What is missing from the cost of campaigns, where it stands and what to do about it.
with refused as (
    select * from {{ ref('stg_ad_spend__refused_rows') }}
),

unconverted as (
    select * from {{ ref('int_campaigns__costs') }}
    where cost_usd is null and cost is not null
)

select
    file,
    line,
    column_name,
    value,
    code,
    message,
    remedy,
    received_at,
from refused
union all
select
    cast(null as varchar) as file,
    cast(null as bigint) as line,
    'currency' as column_name,
    currency as value,
    'FIELD_MISMATCH' as code,
    cast(sum(cost) as decimal(18, 2)) || ' ' || currency || ' of ' || count(*)
    || ' campaign days are in no sum: no rate is declared' as message,
    'Add a row for ' || currency || ' to dbt_project/seeds/currency_rates.csv.' as remedy,
    cast(null as timestamptz) as received_at,
from unconverted
group by currency
