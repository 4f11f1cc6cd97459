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
        record_id,
        sum(
            cast(coalesce(json_extract_string(spent, '$.cost_usd'), json_extract_string(spent, '$.amount')) as decimal(18, 2))
        ) as cost_usd,
    from (
        select
            system,
            record_id,
            unnest(from_json(costs, '["JSON"]')) as spent,
        from newest
        where costs is not null
    ) as spendings
    group by system, record_id
)

select
    newest.record_id as campaign_id,
    newest.system,
    newest.name,
    newest.channel,
    cast(coalesce(costs.cost_usd, 0) as decimal(18, 2)) as cost_usd,
    newest.occurred_at as changed_at,
from newest
left join costs on newest.system = costs.system and newest.record_id = costs.record_id
