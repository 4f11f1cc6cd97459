{{ config(materialized='view') }}

-- Every mention of a person's record anywhere: a record exists from the first time something names it.
with contacts as (
    select
        system,
        record_type,
        record_id,
        received_at,
        load_id,
    from {{ ref('int_contacts__versions') }}
),

activities as (
    select
        system,
        contact_id,
        email,
        received_at,
        load_id,
    from {{ ref('stg_events__activities') }}
    {% for told in ['stg_hubspot__activities', 'stg_hubspot__engagements', 'stg_marketo__activities'] %}
    union all
    select
        system,
        contact_id,
        cast(null as varchar) as email,
        received_at,
        load_id,
    from {{ ref(told) }}
    {% endfor %}
    {% for told in ['stg_hubspot__email_events', 'stg_hubspot__form_submissions'] %}
    union all
    select
        system,
        contact_id,
        email,
        received_at,
        load_id,
    from {{ ref(told) }}
    {% endfor %}
    union all
    select
        system,
        who_id as contact_id,
        cast(null as varchar) as email,
        received_at,
        load_id,
    from {{ ref('stg_salesforce__tasks') }}
    union all
    select
        system,
        contact_id,
        cast(null as varchar) as email,
        received_at,
        load_id,
    from {{ ref('stg_salesforce__campaign_responses') }}
),

consents as (
    {% for consents in ['stg_events__consents', 'stg_hubspot__subscription_changes'] %}
    select
        system,
        contact_id,
        email,
        received_at,
        load_id,
    from {{ ref(consents) }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

meetings as (
    {% for meetings in [
        'stg_events__meetings', 'stg_calendar__meetings', 'stg_caldav__meetings', 'stg_hubspot__meetings', 'stg_salesforce__meetings',
    ] %}
    select
        system,
        contact_id,
        attendee_email as email,
        received_at,
        load_id,
    from {{ ref(meetings) }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

opportunities as (
    {% for opportunities in ['stg_events__opportunities', 'stg_hubspot__deals', 'stg_salesforce__opportunities'] %}
    select
        system,
        {{ json_elements('contact_ids') }} as contact_id,
        cast(null as varchar) as email,
        received_at,
        load_id,
    from {{ ref(opportunities) }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

stage_changes as (
    select
        system,
        contact_id,
        cast(null as varchar) as email,
        received_at,
        load_id,
    from {{ ref('stg_events__stage_changes') }}
),

directives as (
    select
        {{ named_system('system', 'named') }} as system,
        {{ named_id('system', 'named') }} as contact_id,
        cast(null as varchar) as email,
        received_at,
        load_id,
    from (
        select
            system,
            unnest([surviving_id, merged_id]) as named,
            received_at,
            load_id,
        from {{ ref('int_identity__merges_unioned') }}
    ) as told
),

mentions as (
    select * from activities
    union all
    select * from consents
    union all
    select * from meetings
    union all
    select * from opportunities
    union all
    select * from stage_changes
    union all
    select * from directives
),

named as (
    select * from contacts
    union all
    select
        system,
        case when contact_id is null then 'email' else {{ record_type_of('system', 'contact_id') }} end as record_type,
        coalesce(contact_id, lower(trim(email))) as record_id,
        received_at,
        load_id,
    from mentions
)

select
    {{ record_key('system', 'record_type', 'record_id') }} as record_key,
    *,
from named
where record_id is not null
