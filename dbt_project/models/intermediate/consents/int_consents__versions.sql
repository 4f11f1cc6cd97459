{{ config(
    materialized='incremental',
    incremental_strategy='append',
    indexes=[{'columns': ['record_key']}, {'columns': ['occurred_at']}],
    pre_hook=[
        "{% if is_incremental() %}delete from {{ this }} where {{ is_new() }}{% endif %}",
        "{% if is_incremental() %}delete from {{ this }} where record_key in ({{ records_told_by_map() }}) and is_inferred{% endif %}",
        "{% if is_incremental() %}delete from {{ this }} where record_key in ({{ records_told_by_salesforce() }}) and is_inferred{% endif %}",
    ],
) }}

-- depends_on: {{ ref('stg_hubspot__contacts') }}
-- depends_on: {{ ref('stg_marketo__leads') }}
-- depends_on: {{ ref('stg_salesforce__leads') }}
-- depends_on: {{ ref('stg_salesforce__contacts') }}
-- Kept as a table, so that a batch finds what its people ever said by a number. What an attempt that died had appended goes first, and what
-- was inferred from the versions of a contact or lead is inferred anew when another version comes, in whatever order they come.
with stated as (
    select * from (
        {{ union_by_name([
            ref('stg_events__consents'),
            ref('stg_hubspot__subscription_changes'),
            ref('stg_marketo__unsubscribes'),
        ]) }}
    )
    {% if is_incremental() %}
        where {{ is_new() }}
    {% endif %}
),

inferred_from_hubspot as (
    select * from {{ ref('stg_hubspot__consents') }}
    {% if is_incremental() %}
        where contact_id in (select record_id from {{ ref('stg_hubspot__contacts') }} where {{ is_new() }})
    {% endif %}
),

inferred_from_marketo as (
    select * from {{ ref('stg_marketo__consents') }}
    {% if is_incremental() %}
        where contact_id in (select record_id from {{ ref('stg_marketo__leads') }} where {{ is_new() }})
    {% endif %}
),

inferred_from_salesforce as (
    select * from {{ ref('stg_salesforce__consents') }}
    {% if is_incremental() %}
        where contact_id in (
            select record_id from {{ ref('stg_salesforce__leads') }} where {{ is_new() }}
            union
            select record_id from {{ ref('stg_salesforce__contacts') }} where {{ is_new() }}
        )
    {% endif %}
),

consents as (
    select
        *,
        false as is_inferred,
    from stated
    union all by name
    select
        *,
        true as is_inferred,
    from inferred_from_hubspot
    union all by name
    select
        *,
        true as is_inferred,
    from inferred_from_marketo
    union all by name
    select
        *,
        true as is_inferred,
    from inferred_from_salesforce
),

named as (
    select
        *,
        case when contact_id is null then 'email' else {{ record_type_of('system', 'contact_id') }} end as record_type,
        coalesce(contact_id, lower(trim(email))) as record_id,
    from consents
)

select
    consent_record_id,
    {{ record_key('system', 'record_type', 'record_id') }} as record_key,
    system,
    record_type,
    record_id,
    channel,
    purpose,
    lawful_basis,
    status,
    source,
    notice_version,
    is_inferred,
    occurred_at,
    received_at,
    load_id,
from named
where record_id is not null
