{{ config(
    materialized='incremental',
    incremental_strategy='append',
    indexes=[{'columns': ['record_key']}, {'columns': ['occurred_at']}, {'columns': ['expires_at']}],
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
),

purposes as (
    select * from {{ source('raw_policies', 'consent_purposes') }}
    where is_active
),

-- A browser that sends Global Privacy Control says no to more than the form asked about.
denied_by_gpc as (
    select
        named.* replace (
            named.consent_record_id || '/gpc/' || purposes.purpose as consent_record_id,
            'all' as channel,
            purposes.purpose as purpose,
            'not_applicable' as lawful_basis,
            'denied' as status,
            'global_privacy_control' as source
        ),
    from named
    cross join purposes
    where named.is_gpc and purposes.role = 'denied_by_gpc'
),

told as (
    select * from named
    union all by name
    select * from denied_by_gpc
),

lifetimes as (
    select * from {{ source('raw_policies', 'consent_periods') }}
    where is_active and role = 'expiry'
)

select
    told.consent_record_id,
    {{ record_key('told.system', 'told.record_type', 'told.record_id') }} as record_key,
    told.system,
    told.record_type,
    told.record_id,
    told.channel,
    coalesce(told.purpose, 'marketing') as purpose,
    told.lawful_basis,
    told.status,
    told.source,
    told.notice_version,
    coalesce(told.is_gpc, false) as is_gpc,
    told.is_inferred,
    told.occurred_at,
    told.received_at,
    -- A no never expires. In seconds, as a day is not as long everywhere.
    case
        when told.status = 'granted'
            then told.occurred_at + to_seconds(86400 * (
                select min(lifetimes.days) from lifetimes
                where
                    coalesce(lifetimes.channel = told.channel, true)
                    and coalesce(lifetimes.purpose = coalesce(told.purpose, 'marketing'), true)
                    and coalesce(lifetimes.lawful_basis = told.lawful_basis, true)
            ))
    end as expires_at,
    told.load_id,
from told
where told.record_id is not null
