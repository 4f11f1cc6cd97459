with log as (
    select
        *,
        {{ json_text('payload', 'activityType') }} as marketo_type,
        {{ marketo_attribute('New Status') }} as program_status,
        {{ marketo_attribute('Action Result') }} as action_result,
        {{ marketo_attribute('Query Parameters') }} as query_parameters,
        coalesce({{ marketo_attribute('Link') }}, {{ marketo_attribute('Webpage URL') }}) as address,
        {{ marketo_attribute('Referrer URL') }} as referrer,
    from {{ source('raw_marketo', 'activities') }}
    where {{ is_complete('raw_marketo') }}
),

located as (
    select
        *,
        case
            when address like '%?%' or query_parameters is null then address
            else address || '?' || ltrim(query_parameters, '?')
        end as url,
        -- A form carries them though it does not say on which page it stood.
        coalesce(address, '') || '?' || coalesce(ltrim(query_parameters, '?'), '') as parameters,
    from log
)

select
    'marketo' as system,
    record_id as activity_id,
    -- What Marketo's own work is (delivered, bounced, merged, a value changed) is no engagement of the person.
    case
        when marketo_type = 'Change Status in Progression'
            then case when program_status like 'Attended%' then 'webinar_attend' end
        when marketo_type = 'Send Email' and action_result <> 'succeeded' then null
        else {{ canonical_value('activity_type', 'marketo', 'marketo_type') }}
    end as activity_type,
    {{ json_text('payload', 'leadId') }} as contact_id,
    url,
    referrer,
    {{ url_parameter('parameters', 'utm_source') }} as utm_source,
    {{ url_parameter('parameters', 'utm_medium') }} as utm_medium,
    {{ url_parameter('parameters', 'utm_campaign') }} as utm_campaign,
    -- A campaign is a program: smart campaigns are its steps.
    case
        when marketo_type = 'Change Status in Progression' then {{ json_text('payload', 'primaryAttributeValueId') }}
        else {{ json_text('payload', 'programId') }}
    end as campaign_id,
    -- Rules name forms, and so do people; the number is what Marketo calls it.
    case
        when marketo_type = 'Fill Out Form'
            then
                coalesce(
                    {{ json_text('payload', 'primaryAttributeValue') }},
                    {{ json_text('payload', 'primaryAttributeValueId') }}
                )
    end as form_id,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from located
