{{ config(
    materialized='incremental',
    incremental_strategy='append',
    indexes=[{'columns': ['source_key']}],
    pre_hook="{% if is_incremental() %}delete from {{ this }} where {{ is_new() }}{% endif %}",
) }}

-- Kept as a table, so that a batch reads no documents of calendars again; of what never was an absence nothing is kept. A version with none
-- ends those of the version before it.
{% set newest = newest_load() %}

with versions as (
    select
        'directory/' || system || ':' || record_id as source_key,
        system || ':' || record_id as source_record,
        cast(null as varchar) as rep_email,
        out_of_office as absences,
        occurred_at,
        received_at,
        load_id,
    from {{ ref('stg_events__reps') }}
    where out_of_office is not null
    union all
    select
        'calendar/' || rep_email || '/' || event_id as source_key,
        cast(null as varchar) as source_record,
        rep_email,
        absences,
        occurred_at,
        received_at,
        load_id,
    from {{ ref('stg_calendar__absences') }}
    union all
    select
        'caldav/' || rep_email || '/' || object_id as source_key,
        cast(null as varchar) as source_record,
        rep_email,
        absences,
        occurred_at,
        received_at,
        load_id,
    from {{ ref('stg_caldav__absences') }}
),

fresh as (
    select * from versions
    {% if is_incremental() %}
        where load_id > '{{ newest }}'
    {% endif %}
),

absent as (
    select source_key from fresh
    where len(absences) > 0
    {% if is_incremental() %}
        union
        select source_key from {{ this }}
    {% endif %}
)

select * from fresh
where source_key in (select absent.source_key from absent)
