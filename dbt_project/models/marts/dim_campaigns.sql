with campaigns as (
    select * from {{ ref('int_campaigns__unioned') }}
),

newest as (
    select *
    from campaigns
    where occurred_at <= {{ as_of() }}
    qualify row_number() over (
        partition by system, record_id
        order by occurred_at desc, received_at desc
    ) = 1
),

costs as (
    select
        system,
        campaign_id,
        sum(cost_usd) as cost_usd,
    from {{ ref('int_campaigns__costs') }}
    group by system, campaign_id
)

select
    newest.record_id as campaign_id,
    newest.system,
    newest.name,
    newest.channel,
    cast(coalesce(costs.cost_usd, 0) as decimal(18, 2)) as cost_usd,
    newest.occurred_at as changed_at,
from newest
left join costs on newest.system = costs.system and newest.record_id = costs.campaign_id
