{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='activity_key',
    indexes=[{'columns': ['activity_key']}, {'columns': ['record_key']}, {'columns': ['occurred_at']}, {'columns': ['campaign_id']}, {'columns': ['visitor_key']}],
) }}

with activities as (
    {{ union_by_name([
        ref('stg_events__activities'),
        ref('stg_hubspot__activities'),
        ref('stg_hubspot__email_events'),
        ref('stg_hubspot__engagements'),
        ref('stg_hubspot__form_submissions'),
        ref('stg_marketo__activities'),
        ref('stg_calendly__activities'),
        ref('stg_calcom__activities'),
        ref('stg_salesforce__campaign_responses'),
    ]) }}
),

-- Every version of a task, also of one that is open or deleted: what was done once may be undone, and an incremental run
-- must learn that from the version that says so.
tasks as (
    select
        system,
        record_id as activity_id,
        case when lower(subject) like 'call%' then 'call' else 'task' end as activity_type,
        who_id as contact_id,
        is_deleted or completed_at is null as is_withdrawn,
        coalesce(completed_at, occurred_at) as occurred_at,
        occurred_at as changed_at,
        received_at,
        load_id,
    from {{ ref('stg_salesforce__tasks') }}
),

unioned as (
    select * from activities
    union all by name
    select * from tasks
),

keyed as (
    select
        {{ hash64(['system', 'activity_id']) }} as activity_key,
        {{ guid(['system', 'activity_id']) }} as activity_id,
        -- An address typed into a form stands for the mailbox until identity says whose it is.
        case
            when contact_id is not null
                then {{ record_key('system', record_type_of('system', 'contact_id'), 'contact_id') }}
            when email is not null
                then {{ record_key('system', "'email'", 'lower(trim(email))') }}
            when anonymous_id is not null
                then {{ record_key('system', "'visitor'", 'anonymous_id') }}
        end as record_key,
        -- The browser it was done with, whether or not it is known whose.
        case when anonymous_id is not null then {{ record_key('system', "'visitor'", 'anonymous_id') }} end as visitor_key,
        anonymous_id,
        system,
        activity_id as system_activity_id,
        activity_type,
        campaign_id,
        form_id,
        url,
        referrer,
        utm_source,
        utm_medium,
        utm_campaign,
        trace_parent,
        occurrence_key,
        coalesce(is_withdrawn, false) as is_withdrawn,
        occurred_at,
        coalesce(changed_at, occurred_at) as changed_at,
        received_at,
        load_id,
        coalesce(seq, 0) as seq,
        cast(null as ubigint) as former_record_key,
        cast(null as ubigint) as former_visitor_key,
    from unioned
    where activity_type is not null
    {% if is_incremental() %}
        and {{ is_new() }}
    {% endif %}
),

-- A version that comes late may be older than the one already here.
versions as (
    select * from keyed
    {% if is_incremental() %}
        union all by name
        select
            *,
            -1 as seq,
        from {{ this }}
        where activity_key in (select activity_key from keyed)
    {% endif %}
),

newest as (
    select
        *,
        -- What an attempt that died found here has been overwritten by it, and is told by what it left.
        any_value(case when {{ is_new() }} then former_record_key else record_key end) filter (where seq = -1)
            over (partition by activity_key) as record_key_before,
        any_value(case when {{ is_new() }} then former_visitor_key else visitor_key end) filter (where seq = -1)
            over (partition by activity_key) as visitor_key_before,
    from versions
    qualify row_number() over (
        partition by activity_key
        order by changed_at desc, received_at desc, seq desc
    ) = 1
)

select
    * exclude (seq, former_record_key, former_visitor_key, record_key_before, visitor_key_before),
    nullif(record_key_before, record_key) as former_record_key,
    nullif(visitor_key_before, visitor_key) as former_visitor_key,
from newest
