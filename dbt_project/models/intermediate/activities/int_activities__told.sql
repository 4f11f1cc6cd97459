{{ config(materialized='view') }}

-- Every version of every activity, as it was told.
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
)

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
from unioned
where activity_type is not null
