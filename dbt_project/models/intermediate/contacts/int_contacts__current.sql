{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='record_key',
    indexes=[{'columns': ['record_key']}],
) }}

{% set stated_columns = [
    'email', 'phone', 'first_name', 'last_name', 'birth_date', 'street_address', 'city', 'region', 'postal_code', 'country', 'company',
    'job_title', 'external_ids', 'original_source', 'latest_source', 'campaign_id', 'owner_id', 'lifecycle_stage', 'account_record_id',
    'merged_ids', 'master_record_id', 'converted_contact_id', 'handoff_person_id',
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
)

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
from versions
where occurred_at <= {{ as_of() }}
group by record_key, system, record_type, record_id
