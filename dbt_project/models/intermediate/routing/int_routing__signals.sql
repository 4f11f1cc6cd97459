{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched',
    unique_key='person_id',
    indexes=[{'columns': ['person_id']}],
) }}

-- depends_on: {{ ref('int_batch__touched_people') }}
-- What becomes known of a lead after it was dealt: a first touch of sales, an answer, another owner in the CRM, a meeting they did not come
-- to.
with led as (
    select distinct person_id from {{ ref('int_routing__leads') }}
    where {{ where_touched() if is_incremental() else 'not is_erased' }}
),

records_ever as (
    select * from {{ ref('entity_map') }}
    where {{ where_touched() if is_incremental() else 'person_id is not null' }}
    {{ looked_up() }}
),

records as (
    select
        records_ever.person_id,
        records_ever.record_key,
    from records_ever
    inner join led on records_ever.person_id = led.person_id
    where records_ever.known_to is null and records_ever.record_type is distinct from 'visitor'
),

touch_types as (
    select activity_type from {{ source('raw_policies', 'kpi_activity_types') }}
    where role = 'first_touch' and is_active
),

activities as (
    select
        record_key,
        activity_type,
        occurred_at,
        received_at,
    from {{ ref('int_activities__unioned') }}
    {% if is_incremental() %}
        where record_key in (select records.record_key from records)
    {% endif %}
    {{ looked_up() }}
),

stages as (
    select
        record_key,
        to_stage,
        occurred_at,
        received_at,
    from {{ ref('int_stage_changes__stated') }}
    {% if is_incremental() %}
        where record_key in (select records.record_key from records)
    {% endif %}
    {{ looked_up() }}
),

contact_versions as (
    select
        record_key,
        system,
        record_type,
        owner_id,
        lifecycle_stage,
        coalesce(is_converted, false) as is_converted,
        version_order,
        occurred_at,
        received_at,
    from {{ ref('int_contacts__versions') }}
    {% if is_incremental() %}
        where record_key in (select records.record_key from records)
    {% endif %}
    {{ looked_up() }}
),

lead_versions as (
    select
        *,
        lag(lifecycle_stage) over by_version as former_stage,
        lag(is_converted) over by_version as was_converted,
    from contact_versions
    where system = 'salesforce' and record_type = 'lead'
    window by_version as (
        partition by record_key
        order by version_order
    )
),

owners_written as (
    select
        record_key,
        owner_id,
        planned_at,
    from {{ ref('int_salesforce__owners_written') }}
    {% if is_incremental() %}
        where record_key in (select records.record_key from records)
    {% endif %}
    {{ looked_up() }}
),

-- Who owned the lead one after the other: as it was polled, and as we wrote it, which is no news to us.
owners as (
    select
        record_key,
        owner_id,
        false as is_ours,
        occurred_at as changed_at,
        occurred_at,
        received_at,
    from lead_versions
    where owner_id is not null
    union all
    select
        record_key,
        owner_id,
        true as is_ours,
        planned_at as changed_at,
        planned_at as occurred_at,
        planned_at as received_at,
    from owners_written
),

owners_followed as (
    select
        *,
        lag(owner_id) over (
            partition by record_key
            order by changed_at, is_ours
        ) as former_owner_id,
    from owners
),

reps as (
    select
        rep_id,
        email,
        unnest(from_json(source_records, '["VARCHAR"]')) as source_record,
    from {{ ref('dim_reps') }}
),

reps_by_email as (
    select distinct
        rep_id,
        email,
    from reps
),

no_shows as (
    select
        record_key,
        system,
        rep_id,
        rep_email,
        occurred_at,
        received_at,
    from {{ ref('int_meetings__no_shows') }}
    {% if is_incremental() %}
        where record_key in (select records.record_key from records)
    {% endif %}
    {{ looked_up() }}
),

heard as (
    select
        record_key,
        'touched' as kind,
        cast(null as varchar) as rep_id,
        occurred_at,
        received_at,
    from activities
    where activity_type in (select touch_types.activity_type from touch_types)
    union all
    select
        record_key,
        'answered' as kind,
        null as rep_id,
        occurred_at,
        received_at,
    from stages
    where to_stage in {{ stages_of_answers() }}
    union all
    -- Sales says what it thinks of a lead by its status: the version that turns to it counts.
    select
        record_key,
        'answered' as kind,
        null as rep_id,
        occurred_at,
        received_at,
    from lead_versions
    where
        (lifecycle_stage in {{ stages_of_answers() }} and lifecycle_stage is distinct from former_stage)
        or (is_converted and not coalesce(was_converted, false))
    union all
    select
        owners_followed.record_key,
        'owner' as kind,
        reps.rep_id,
        owners_followed.occurred_at,
        owners_followed.received_at,
    from owners_followed
    inner join reps on 'salesforce:' || owners_followed.owner_id = reps.source_record
    where not owners_followed.is_ours and owners_followed.owner_id <> owners_followed.former_owner_id
    union all
    select
        no_shows.record_key,
        'no_show' as kind,
        coalesce(by_email.rep_id, by_record.rep_id) as rep_id,
        no_shows.occurred_at,
        no_shows.received_at,
    from no_shows
    left join reps_by_email as by_email on no_shows.rep_email = by_email.email
    left join reps as by_record on no_shows.system || ':' || no_shows.rep_id = by_record.source_record
)

select distinct
    records.person_id,
    heard.kind,
    heard.rep_id,
    heard.occurred_at,
    {{ known_since('heard.') }} as known_at,
from heard
inner join records on heard.record_key = records.record_key
where heard.occurred_at <= {{ as_of() }}
