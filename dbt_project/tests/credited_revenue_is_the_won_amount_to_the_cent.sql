with credited as (
    select
        opportunity_id,
        attribution_model,
        sum(attributed_revenue_usd) as credited_usd,
    from {{ ref('fct_attribution') }}
    group by opportunity_id, attribution_model
),

-- Every opportunity times every model: credit that is missing altogether fails as well.
due as (
    select
        opportunities.opportunity_id,
        models.attribution_model,
        case when opportunities.is_won then coalesce(opportunities.amount_usd, 0) else 0 end as due_usd,
    from {{ ref('fct_opportunities') }} as opportunities
    cross join {{ ref('attribution_models') }} as models
    where not opportunities.is_deleted
)

select
    due.opportunity_id,
    due.attribution_model,
    due.due_usd,
    credited.credited_usd,
from due
left join credited
    on due.opportunity_id = credited.opportunity_id and due.attribution_model = credited.attribution_model
where credited.credited_usd is distinct from due.due_usd
