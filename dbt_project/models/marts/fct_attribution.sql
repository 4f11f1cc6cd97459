with opportunities as (
    select * from {{ ref('fct_opportunities') }}
    where not is_deleted
),

touchpoints as (
    select * from {{ ref('fct_touchpoints') }}
),

models as (
    select * from {{ ref('attribution_models') }}
),

journeys as (
    select
        opportunities.opportunity_id,
        opportunities.is_won,
        opportunities.amount_usd,
        opportunities.created_at,
        opportunities.closed_at,
        opportunities.person_id as opportunity_person_id,
        touchpoints.touchpoint_id,
        touchpoints.person_id,
        touchpoints.channel,
        touchpoints.campaign_id,
        touchpoints.occurred_at,
    from opportunities
    -- What follows the end of an opportunity cannot have caused it.
    left join touchpoints
        on
            opportunities.person_id = touchpoints.person_id
            and touchpoints.occurred_at <= coalesce(opportunities.closed_at, {{ as_of() }})
),

positioned as (
    select
        *,
        row_number() over (partition by opportunity_id order by occurred_at, touchpoint_id) as position,
        count(touchpoint_id) over (partition by opportunity_id) as touchpoint_count,
    from journeys
),

credited as (
    select
        positioned.*,
        models.attribution_model,
        case
            when touchpoint_count <= 1 then 1.0
            when models.is_even then 1.0 / touchpoint_count
            when touchpoint_count = 2 and position = 1
                then models.first_weight / (models.first_weight + models.last_weight)
            when touchpoint_count = 2 then models.last_weight / (models.first_weight + models.last_weight)
            when position = 1 then models.first_weight
            when position = touchpoint_count then models.last_weight
            else (1.0 - models.first_weight - models.last_weight) / (touchpoint_count - 2)
        end as credit_weight,
    from positioned
    cross join models
),

-- Each share is cut to whole cents, and the journey's last credited touch takes what is left, so the credits are the revenue to the cent.
cut as (
    select
        *,
        -- Rounded before it is cut: 0.2 of 100 is 19.999… in binary, which would be a cent short.
        cast(floor(round(coalesce(amount_usd, 0) * 100 * credit_weight, 6)) / 100 as decimal(18, 2)) as share_usd,
        row_number() over (
            partition by opportunity_id, attribution_model
            order by (credit_weight = 0), position desc
        ) = 1 as takes_rest,
    from credited
)

select
    opportunity_id,
    coalesce(touchpoint_id, 'none') as touchpoint_id,
    attribution_model,
    coalesce(person_id, opportunity_person_id) as person_id,
    case when touchpoint_id is null then 'unattributed' else coalesce(channel, 'unknown') end as channel,
    campaign_id,
    case
        when not is_won then cast(0 as decimal(18, 2))
        when takes_rest
            then
                cast(
                    coalesce(amount_usd, 0) - sum(share_usd) over (partition by opportunity_id, attribution_model)
                    + share_usd as decimal(18, 2)
                )
        else share_usd
    end as attributed_revenue_usd,
    credit_weight,
    is_won,
    occurred_at as touched_at,
from cut
