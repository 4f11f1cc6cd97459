-- What a system says of the stages a deal went through, and where it says none, the stage of each version: equal neighbours are one.
with stated as (
    {{ union_by_name([ref('stg_hubspot__deal_stages'), ref('stg_salesforce__opportunity_stages')]) }}
),

versions as (
    {{ union_by_name([
        ref('stg_events__opportunities'),
        ref('stg_hubspot__deals'),
        ref('stg_salesforce__opportunities'),
    ]) }}
),

told as (
    select
        system,
        record_id,
        stage,
        occurred_at,
        received_at,
        0 as precedence,
    from stated
    union all
    select
        system,
        record_id,
        stage,
        occurred_at,
        received_at,
        1 as precedence,
    from versions
    where stage is not null
),

-- At one instant the history speaks before the version that came with it.
once as (
    select
        system,
        record_id,
        stage,
        occurred_at,
    from told
    where occurred_at <= {{ as_of() }}
    qualify row_number() over (
        partition by system, record_id, occurred_at
        order by precedence asc, received_at desc, stage asc
    ) = 1
),

entered as (
    select * from once
    qualify stage is distinct from lag(stage) over (partition by system, record_id order by occurred_at)
)

select
    system,
    record_id,
    stage,
    row_number() over in_order as stage_number,
    occurred_at as entered_at,
    lead(occurred_at) over in_order as left_at,
from entered
window in_order as (
    partition by system, record_id
    order by occurred_at
)
