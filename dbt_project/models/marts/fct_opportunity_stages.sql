with stages as (
    select * from {{ ref('int_opportunities__stages') }}
),

opportunities as (
    select * from {{ ref('fct_opportunities') }}
)

select
    opportunities.opportunity_id,
    stages.stage,
    stages.stage_number,
    stages.entered_at,
    stages.left_at,
from stages
inner join opportunities
    on stages.system = opportunities.system and stages.record_id = opportunities.system_opportunity_id
