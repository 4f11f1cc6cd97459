with opportunities as (
    select * from {{ ref('int_opportunities__current') }}
    where coalesce(created_at, first_occurred_at) <= {{ as_of() }}
),

people as (
    select
        system,
        record_id,
        arg_min(person_id, row(position, person_id)) as person_id,
        count(*) as person_count,
    from {{ ref('int_opportunities__people') }}
    group by system, record_id
),

accounts as (
    select * from {{ ref('int_accounts__current') }}
),

standing as (
    select * from {{ ref('int_opportunities__stages') }}
    where left_at is null
),

dim_people as (
    select * from {{ ref('dim_people') }}
),

rep_records as (
    select
        rep_id,
        unnest(from_json(source_records, '["VARCHAR"]')) as source_record,
    from {{ ref('dim_reps') }}
)

select
    {{ guid(["'opportunity'", 'opportunities.system', 'opportunities.record_id']) }} as opportunity_id,
    people.person_id,
    coalesce(accounts.account_id, dim_people.account_id) as account_id,
    rep_records.rep_id,
    opportunities.system,
    opportunities.record_id as system_opportunity_id,
    opportunities.stage,
    opportunities.product_line,
    opportunities.amount_usd,
    coalesce(people.person_count, 0) as person_count,
    coalesce(opportunities.is_won, false) as is_won,
    opportunities.closed_at is not null as is_closed,
    opportunities.is_deleted,
    coalesce(opportunities.created_at, opportunities.first_occurred_at) as created_at,
    -- Some systems say of the end its day alone: the history has the hour, if it says the same day. What was done that day may count.
    case
        when
            standing.stage = opportunities.stage
            and opportunities.closed_at = date_trunc('day', standing.entered_at at time zone 'UTC') at time zone 'UTC'
            then standing.entered_at
        else opportunities.closed_at
    end as closed_at,
from opportunities
left join standing
    on opportunities.system = standing.system and opportunities.record_id = standing.record_id
left join people
    on opportunities.system = people.system and opportunities.record_id = people.record_id
left join dim_people on people.person_id = dim_people.person_id
left join accounts
    on opportunities.system = accounts.system and opportunities.account_record_id = accounts.record_id
left join rep_records on opportunities.system || ':' || opportunities.owner_id = rep_records.source_record
