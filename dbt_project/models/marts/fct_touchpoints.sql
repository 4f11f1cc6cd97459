{{ config(materialized='incremental', incremental_strategy='replace_touched_since_pass', unique_key='person_id') }}

-- depends_on: {{ ref('int_batch__touched_people') }}
with touchpoint_types as (
    select * from {{ source('raw_policies', 'kpi_activity_types') }}
    where is_active and role = 'touchpoint'
),

activities as (
    select * from {{ ref('fct_activities') }}
    where
        activity_type in (select activity_type from touchpoint_types)
        and {{ where_touched() }}
),

people as (
    select * from {{ ref('dim_people') }}
    where {{ where_touched() }}
),

campaigns as (
    select
        campaign_id,
        min(channel) as channel,
    from {{ ref('dim_campaigns') }}
    group by campaign_id
),

from_activities as (
    select
        activities.activity_id as touchpoint_id,
        activities.person_id,
        activities.account_id,
        activities.activity_type as touchpoint_type,
        {{ channel_of('activities', 'campaigns.channel') }} as channel,
        activities.campaign_id,
        activities.occurred_at,
    from activities
    left join campaigns on activities.campaign_id = campaigns.campaign_id
),

-- Who arrived with a stated source and no recorded activity still came from somewhere.
from_sources as (
    select
        {{ guid(["'first_contact'", 'people.person_id']) }} as touchpoint_id,
        people.person_id,
        people.account_id,
        'first_contact' as touchpoint_type,
        {{ channel_name('people.original_source') }} as channel,
        people.campaign_id,
        people.first_seen_at as occurred_at,
    from people
    where
        {{ channel_name('people.original_source') }} is not null
        and people.person_id not in (select person_id from from_activities)
)

select * from from_activities
union all
select * from from_sources
