{# Marketing channel of an activity: what it carries itself, then what its campaign says, then the page it came from. Names and rules are the
   GA4 default channel groups' (visit_channel, ingestion.normalize.channels), and what a campaign or webinar calls itself. #}
{% macro channel_of(activity, campaign_channel) -%}
    coalesce(
        case when {{ activity }}.activity_type in ('email_click', 'email_open') then 'email' end,
        nullif({{ stated_channel(activity) }}, 'unassigned'),
        {{ channel_name(campaign_channel) }},
        case when {{ activity }}.activity_type = 'webinar_attend' then 'webinar' end,
        visit_channel(null, null, null, {{ activity }}.referrer, split_part({{ activity }}.url, '?', 1)),
        {{ stated_channel(activity) }},
        'direct'
    )
{%- endmacro %}

{# What the parameters of the campaign say; null where there are none. #}
{% macro stated_channel(activity) -%}
    visit_channel({{ activity }}.utm_source, {{ activity }}.utm_medium, {{ activity }}.utm_campaign, null, {{ activity }}.url)
{%- endmacro %}

{# The name of a channel as a system writes it: HubSpot's sources are the same groups in words of its own. #}
{% macro channel_name(stated) -%}
    case lower(replace(trim({{ stated }}), ' ', '_'))
        when '' then null
        when 'social_media' then 'organic_social'
        when 'direct_traffic' then 'direct'
        when 'email_marketing' then 'email'
        when 'referrals' then 'referral'
        else lower(replace(trim({{ stated }}), ' ', '_'))
    end
{%- endmacro %}
