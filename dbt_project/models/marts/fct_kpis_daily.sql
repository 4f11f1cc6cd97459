-- One CTE per KPI, one shape for all: kpi, day, dimension, numerator, denominator. Definitions stand in the description of the column kpi.
with settings as (
    select * from {{ source('raw_policies', 'kpi_settings') }}
    where is_active
),

first_touch_types as (
    select * from {{ source('raw_policies', 'kpi_activity_types') }}
    where is_active and role = 'first_touch'
),

activities as (
    select * from {{ ref('fct_activities') }}
),

mqls as (
    select * from {{ ref('fct_mqls') }}
),

people as (
    select * from {{ ref('dim_people') }}
),

assignments as (
    select * from {{ ref('fct_assignments') }}
),

pushes as (
    select * from {{ ref('fct_pushes') }}
),

handoffs as (
    select * from {{ ref('fct_handoff_latency') }}
),

meetings as (
    select * from {{ ref('fct_meetings') }}
),

stage_changes as (
    select * from {{ ref('fct_stage_changes') }}
),

acceptance as (
    select * from {{ ref('fct_event_acceptance') }}
),

webhook_deliveries as (
    select * from {{ ref('fct_webhook_deliveries') }}
),

records as (
    select * from {{ ref('entity_map') }}
    where known_to is null and person_id is not null and record_type not in ('email', 'visitor') and not is_deleted
),

belongings as (
    select * from {{ ref('entity_map') }}
    where person_id is not null and record_type not in ('email', 'visitor')
),

reported_merges as (
    select * from {{ ref('int_identity__merges_unioned') }}
    -- Told by webhook and by each poll since, a merge is one.
    qualify row_number() over (
        partition by system, surviving_id, merged_id, is_unmerge
        order by occurred_at, received_at, seq
    ) = 1
),

lead_ingestion_latency as (
    select
        'lead_ingestion_latency' as kpi,
        cast(received_at as date) as kpi_date,
        'system' as dimension,
        system as dimension_value,
        sum(lead_seconds) as numerator,
        count(*) as denominator,
    from handoffs
    group by cast(received_at as date), system
),

event_delivery_success as (
    select
        'event_delivery_success' as kpi,
        cast(received_hour_at as date) as kpi_date,
        'event_type' as dimension,
        event_type as dimension_value,
        sum(accepted_count) as numerator,
        sum(received_count) as denominator,
    from acceptance
    group by cast(received_hour_at as date), event_type
    union all
    select
        'event_delivery_success' as kpi,
        cast(planned_at as date) as kpi_date,
        'subscriber' as dimension,
        system as dimension_value,
        count(*) filter (where is_confirmed) as numerator,
        count(*) as denominator,
    from pushes
    where status <> 'refused'
    group by cast(planned_at as date), system
    union all
    -- Those that have come to an end: what is still tried counts neither way.
    select
        'event_delivery_success' as kpi,
        cast(started_hour_at as date) as kpi_date,
        'subscriber' as dimension,
        'webhook:' || subscriber as dimension_value,
        sum(delivered_count) as numerator,
        sum(delivered_count + dead_count) as denominator,
    from webhook_deliveries
    where delivered_count + dead_count > 0
    group by cast(started_hour_at as date), subscriber
),

-- A record is a duplicate when the person was known before it.
seniority as (
    select
        *,
        row_number() over (partition by person_id order by valid_from, record_key) as position,
    from records
),

duplicate_rate as (
    select
        'duplicate_rate' as kpi,
        cast(valid_from as date) as kpi_date,
        'system' as dimension,
        system as dimension_value,
        count(*) filter (where position > 1) as numerator,
        count(*) as denominator,
    from seniority
    group by cast(valid_from as date), system
),

-- What was known of the two when the merge, or its undoing, was received.
merges_judged as (
    select
        survivors.system,
        cast(reported_merges.received_at as date) as kpi_date,
    from reported_merges
    inner join belongings as survivors
        on
            reported_merges.surviving_key = survivors.record_key
            and reported_merges.received_at > survivors.known_from
            and reported_merges.received_at <= coalesce(survivors.known_to, 'infinity')
    inner join belongings as others
        on
            reported_merges.merged_key = others.record_key
            and reported_merges.received_at > others.known_from
            and reported_merges.received_at <= coalesce(others.known_to, 'infinity')
    where (survivors.person_id = others.person_id) = reported_merges.is_unmerge
),

links_by_day as (
    select
        system,
        kpi_date,
        sum(sum(step)) over (
            partition by system
            order by kpi_date
        ) as link_count,
    from (
        select
            system,
            cast(known_from as date) as kpi_date,
            1 as step,
        from belongings
        where link_path <> '[]'
        union all
        select
            system,
            cast(known_to as date) as kpi_date,
            -1 as step,
        from belongings
        where link_path <> '[]' and known_to is not null
    ) as told
    group by system, kpi_date
),

-- How often somebody had to say that two records are one person whom we held to be two, or the other way round; against all records that
-- were linked to another one at the end of that day.
corrections as (
    select
        system,
        kpi_date,
        count(*) as correction_count,
    from merges_judged
    group by system, kpi_date
),

merge_correction_rate as (
    select
        'merge_correction_rate' as kpi,
        corrections.kpi_date,
        'system' as dimension,
        corrections.system as dimension_value,
        corrections.correction_count as numerator,
        greatest(corrections.correction_count, coalesce(links_by_day.link_count, 0)) as denominator,
    from corrections
    asof left join links_by_day
        on corrections.system = links_by_day.system and corrections.kpi_date >= links_by_day.kpi_date
),

-- Actual MQLs against those expected from the rate of the days before (drift_window_days) on the same day's active people.
active_days as (
    select
        cast(occurred_at as date) as kpi_date,
        count(distinct person_id) as active_count,
    from activities
    group by cast(occurred_at as date)
),

mql_days as (
    select
        cast(reached_at as date) as kpi_date,
        count(*) as mql_count,
    from mqls
    group by cast(reached_at as date)
),

days as (
    select
        active_days.kpi_date,
        active_days.active_count,
        coalesce(mql_days.mql_count, 0) as mql_count,
    from active_days
    left join mql_days on active_days.kpi_date = mql_days.kpi_date
),

judged_days as (
    select
        days.kpi_date,
        any_value(days.active_count) as active_count,
        any_value(days.mql_count) as mql_count,
        sum(former_days.mql_count) as former_mqls,
        sum(former_days.active_count) as former_active,
    from days
    cross join settings
    inner join days as former_days
        on
            days.kpi_date > former_days.kpi_date
            and days.kpi_date - to_days(cast(settings.drift_window_days as integer)) <= former_days.kpi_date
    group by days.kpi_date
),

scoring_drift as (
    select
        'scoring_drift' as kpi,
        kpi_date,
        'all' as dimension,
        'all' as dimension_value,
        mql_count as numerator,
        active_count * former_mqls / former_active as denominator,
    from judged_days
    where former_active > 0 and former_mqls > 0
),

-- Whether sales accepted the MQL in time, and whether it has had the time: a young one that is not accepted yet says nothing.
accepted as (
    select
        mqls.mql_id,
        bool_or(stage_changes.person_id is not null) as is_accepted,
        any_value(
            mqls.reached_at + to_days(cast(settings.acceptance_window_days as integer)) <= {{ as_of() }}
        ) as is_window_over,
    from mqls
    cross join settings
    left join stage_changes
        on
            mqls.person_id = stage_changes.person_id
            and stage_changes.to_stage in ('accepted', 'sql', 'opportunity', 'customer')
            and mqls.reached_at <= stage_changes.changed_at
            and mqls.reached_at + to_days(cast(settings.acceptance_window_days as integer))
            >= stage_changes.changed_at
    group by mqls.mql_id
),

mql_to_sql_acceptance as (
    select
        'mql_to_sql_acceptance' as kpi,
        cast(mqls.reached_at as date) as kpi_date,
        'original_source' as dimension,
        coalesce(people.original_source, 'unknown') as dimension_value,
        count(*) filter (where accepted.is_accepted) as numerator,
        count(*) as denominator,
    from mqls
    inner join accepted on mqls.mql_id = accepted.mql_id
    inner join people on mqls.person_id = people.person_id
    where accepted.is_accepted or accepted.is_window_over
    group by cast(mqls.reached_at as date), coalesce(people.original_source, 'unknown')
),

first_touches as (
    select
        mqls.mql_id,
        mqls.reached_at,
        assignments.territory,
        min(activities.occurred_at) as touched_at,
    from mqls
    inner join assignments on mqls.mql_id = assignments.mql_id and assignments.is_current
    inner join activities
        on
            mqls.person_id = activities.person_id
            and mqls.reached_at <= activities.occurred_at
    inner join first_touch_types on activities.activity_type = first_touch_types.activity_type
    cross join settings
    where {{ seconds_between('mqls.reached_at', 'activities.occurred_at') }} <= settings.first_touch_hours * 3600
    group by mqls.mql_id, mqls.reached_at, assignments.territory
),

time_to_first_touch as (
    select
        'time_to_first_touch' as kpi,
        cast(reached_at as date) as kpi_date,
        'territory' as dimension,
        coalesce(territory, 'unknown') as dimension_value,
        sum({{ seconds_between('reached_at', 'touched_at') }}) / 3600 as numerator,
        count(*) as denominator,
    from first_touches
    group by cast(reached_at as date), coalesce(territory, 'unknown')
),

meeting_no_show_rate as (
    select
        'meeting_no_show_rate' as kpi,
        cast(starts_at as date) as kpi_date,
        'rep' as dimension,
        coalesce(rep_id, 'unknown') as dimension_value,
        count(*) filter (where status = 'no_show') as numerator,
        count(*) as denominator,
    from meetings
    where status in ('held', 'no_show')
    group by cast(starts_at as date), coalesce(rep_id, 'unknown')
),

unioned as (
    {% for kpi in [
        'lead_ingestion_latency', 'event_delivery_success', 'duplicate_rate', 'merge_correction_rate', 'scoring_drift',
        'mql_to_sql_acceptance', 'time_to_first_touch', 'meeting_no_show_rate',
    ] %}
    select * from {{ kpi }}
    {% if not loop.last %}union all by name{% endif %}
    {% endfor %}
)

select
    unioned.kpi,
    unioned.kpi_date,
    unioned.dimension,
    unioned.dimension_value,
    cast(unioned.numerator as double) as numerator,
    cast(unioned.denominator as double) as denominator,
    cast(unioned.numerator as double) / nullif(cast(unioned.denominator as double), 0) as value,
    settings.minimum_sample,
    unioned.denominator >= settings.minimum_sample as has_minimum_sample,
from unioned
cross join settings
