with costs as (
    select * from {{ ref('int_campaigns__costs') }}
)

select
    system,
    campaign_id,
    cost_date,
    cast(coalesce(sum(cost_usd), 0) as decimal(18, 2)) as cost_usd,
    cast(sum(impression_count) as bigint) as impression_count,
    cast(sum(click_count) as bigint) as click_count,
    -- What has no rate is left out of the sum, and said so in ops.ad_spend_refusals.
    bool_and(cost_usd is not null) as is_converted,
from costs
where cost_date is not null
group by system, campaign_id, cost_date
