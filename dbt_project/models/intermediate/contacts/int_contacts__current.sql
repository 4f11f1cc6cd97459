{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='record_key',
    indexes=[{'columns': ['record_key']}],
) }}

{% set stated_columns = [
    'email', 'phone', 'first_name', 'last_name', 'birth_date', 'street_address', 'city', 'region', 'postal_code', 'country', 'company',
    'job_title', 'external_ids', 'original_source', 'latest_source', 'campaign_id', 'owner_id', 'lifecycle_stage', 'account_record_id',
    'master_record_id', 'converted_contact_id', 'handoff_person_id', 'custom',
] %}

with versions as (
    select * from {{ ref('int_contacts__versions') }}
    {% if is_incremental() %}
        where
            record_key in (
                select record_key from {{ ref('int_contacts__versions') }}
                where {{ is_new() }}
                union
                select record_key from {{ ref('int_contacts__versions') }}
                where {{ has_come('occurred_at') }}
            )
    {% endif %}
    {{ looked_up() }}
),

known as (
    select * from versions
    where occurred_at <= {{ as_of() }}
),

told_again as (
    select record_key from known
    group by record_key
    having count(*) > 1
),

current_of_several as (
    select
        record_key,
        system,
        record_type,
        record_id,
        {% for column in stated_columns %}
        {{ latest_value(column) }},
        {% endfor %}
        arg_max(is_deleted, version_order) as is_deleted,
        coalesce(bool_or(is_converted), false) as is_converted,
        count(*) as version_count,
        coalesce(min(created_at), min(occurred_at)) as created_at,
        max(converted_at) as converted_at,
        max(occurred_at) as occurred_at,
        min(received_at) as first_received_at,
        min({{ known_since() }}) as known_from,
    from known
    where record_key in (select told_again.record_key from told_again)
    group by record_key, system, record_type, record_id
),

-- Most records are told once: there is nothing to find among versions, and finding it would take most of the time.
current_of_one as (
    select
        record_key,
        system,
        record_type,
        record_id,
        {% for column in stated_columns %}
        {{ column }},
        {% endfor %}
        is_deleted,
        coalesce(is_converted, false) as is_converted,
        cast(1 as bigint) as version_count,
        coalesce(created_at, occurred_at) as created_at,
        converted_at,
        occurred_at,
        received_at as first_received_at,
        {{ known_since() }} as known_from,
    from known
    where record_key not in (select told_again.record_key from told_again)
)

select * from current_of_several
union all
select * from current_of_one
