with campaigns as (
    select * from {{ ref('int_campaigns__unioned') }}
),

days as (
    select * from {{ ref('stg_ad_spend__days') }}
),

rates as (
    select
        *,
        lead(valid_from_date) over (partition by currency order by valid_from_date) as valid_to_date,
    from {{ ref('currency_rates') }}
),

-- A campaign that lists its costs lists all of them in each version.
newest_campaigns as (
    select *
    from campaigns
    where occurred_at <= {{ as_of() }} and costs is not null
    qualify row_number() over (
        partition by system, record_id
        order by occurred_at desc, received_at desc
    ) = 1
),

listed as (
    select
        system,
        record_id as campaign_id,
        unnest(from_json(costs, '["JSON"]')) as spent,
    from newest_campaigns
),

-- An export has all campaigns of a day: its newest version is what the day cost, and what is gone from it is gone.
newest_days as (
    select
        *,
        max(case when account <> '' then received_at end) over (partition by system, cost_date) as named_at,
    from (
        select *
        from days
        where occurred_at <= {{ as_of() }}
        qualify row_number() over (
            partition by system, account, cost_date
            order by segment desc, received_at desc
        ) = 1
    ) as newest
),

exported as (
    select
        system,
        cost_date,
        unnest(from_json(campaigns, '["JSON"]')) as spent,
    from newest_days
    -- Exports that came to name their account replace those that did not.
    where account <> '' or named_at is null or named_at < received_at
),

told as (
    select
        system,
        campaign_id,
        try_cast(json_extract_string(spent, '$.date') as date) as cost_date,
        'USD' as currency,
        cast(
            coalesce(
                {{ json_text('spent', 'cost_usd') }},
                {{ json_text('spent', 'amount') }},
                {{ json_text('spent', 'cost') }}
            ) as decimal(18, 6)
        ) as cost,
        cast(null as bigint) as impression_count,
        cast(null as bigint) as click_count,
    from listed
    union all
    select
        system,
        {{ json_text('spent', 'campaign_id') }} as campaign_id,
        cost_date,
        {{ json_text('spent', 'currency') }} as currency,
        cast({{ json_text('spent', 'cost') }} as decimal(18, 6)) as cost,
        cast({{ json_text('spent', 'impressions') }} as bigint) as impression_count,
        cast({{ json_text('spent', 'clicks') }} as bigint) as click_count,
    from exported
)

select
    told.system,
    told.campaign_id,
    told.cost_date,
    told.currency,
    sum(told.cost) as cost,
    cast(
        sum(case when told.currency = 'USD' then told.cost else cast(told.cost * rates.usd_per_unit as decimal(18, 6)) end)
        as decimal(18, 2)
    ) as cost_usd,
    sum(told.impression_count) as impression_count,
    sum(told.click_count) as click_count,
from told
left join rates
    on
        told.currency = rates.currency
        and coalesce(told.cost_date, cast({{ as_of() }} as date)) >= rates.valid_from_date
        and (rates.valid_to_date is null or coalesce(told.cost_date, cast({{ as_of() }} as date)) < rates.valid_to_date)
group by told.system, told.campaign_id, told.cost_date, told.currency
