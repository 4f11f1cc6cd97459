{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched',
    unique_key='person_id',
    indexes=[{'columns': ['person_id']}, {'columns': ['first_seen_at']}],
) }}

-- depends_on: {{ ref('int_batch__touched_people') }}
-- depends_on: {{ source('raw_policies', 'identity_winners') }}
{% set criteria = winners() %}
{% set preferred_columns = [
    'email', 'phone', 'first_name', 'last_name', 'company', 'job_title', 'country', 'region', 'city', 'postal_code', 'lifecycle_stage',
    'latest_source', 'campaign_id',
] %}

with records_ever as (
    select * from {{ ref('entity_map') }}
    where {{ where_touched() if is_incremental() else 'person_id is not null' }}
    {{ looked_up() }}
),

records as (
    select * from records_ever
    where known_to is null and record_type is distinct from 'visitor'
),

contacts as (
    select * from {{ ref('int_contacts__current') }}
    {% if is_incremental() %}
        where record_key in (select records.record_key from records)
    {% endif %}
    {{ looked_up() }}
),

identifiers as (
    select * from {{ ref('int_identity__identifiers') }}
    {% if is_incremental() %}
        where record_key in (select records.record_key from records)
    {% endif %}
    {{ looked_up() }}
),

verified as (
    select
        record_key,
        bool_or(is_linking) filter (where identifier_type = 'email') as is_email_verified,
        bool_or(is_linking) filter (where identifier_type = 'phone') as is_phone_verified,
    from identifiers
    where identifier_type in ('email', 'phone')
    group by record_key
),

priorities as (
    select * from {{ source('raw_policies', 'identity_system_priority') }}
    where is_active
),

consents as (
    select * from {{ ref('fct_consents') }}
    where {{ where_touched() }}
    {{ looked_up() }}
),

ranked as (
    select
        records.person_id,
        records.account_id,
        records.record_key,
        records.valid_from,
        coalesce(records.is_deleted, false) as is_deleted,
        coalesce(contacts.email, case when records.record_type = 'email' then records.record_id end) as email,
        {% for column in preferred_columns if column != 'email' %}
        contacts.{{ column }},
        {% endfor %}
        contacts.original_source,
        coalesce(priorities.priority, 1000) as system_place,
        -epoch_us(coalesce(contacts.occurred_at, records.valid_from)) as recency,
        coalesce(verified.is_email_verified, false) as is_email_verified,
        coalesce(verified.is_phone_verified, false) as is_phone_verified,
        row(records.valid_from, records.record_key) as seniority,
    from records
    left join contacts on records.record_key = contacts.record_key
    left join priorities on records.system = priorities.system
    left join verified on records.record_key = verified.record_key
),

people as (
    select
        person_id,
        {{ preferred_value('account_id', winning_order('account_id', criteria)) }},
        {% for column in preferred_columns %}
        {{ preferred_value(column, winning_order(column, criteria)) }},
        {% endfor %}
        arg_min(original_source, seniority) as original_source,
        count(*) as record_count,
        bool_and(is_deleted) as is_deleted,
        min(valid_from) as first_seen_at,
    from ranked
    group by person_id
),

-- A channel may carry consents of several purposes: the summary names the most restrictive.
channel_consents as (
    select
        person_id,
        channel,
        arg_max(effective_status, {{ restrictiveness('effective_status') }}) as status,
    from consents
    where is_in_force and purpose_kind = 'contact'
    group by person_id, channel
),

consent_summaries as (
    select
        person_id,
        to_json(map(list(channel order by channel), list(status order by channel))) as consent_summary,
    from channel_consents
    group by person_id
)

select
    people.person_id,
    people.account_id,
    people.email,
    people.phone,
    people.first_name,
    people.last_name,
    people.company,
    people.job_title,
    people.country,
    people.region,
    people.city,
    people.postal_code,
    people.lifecycle_stage,
    people.original_source,
    coalesce(people.latest_source, people.original_source) as latest_source,
    people.campaign_id,
    coalesce(cast(consent_summaries.consent_summary as varchar), '{}') as consent_summary,
    people.record_count,
    people.is_deleted,
    people.first_seen_at,
from people
left join consent_summaries on people.person_id = consent_summaries.person_id
