{# Marketing channel of an activity, by what it carries itself before what its campaign says (names after the GA4 default channel groups). #}
{% macro channel_of(activity, campaign_channel) -%}
    case
        when {{ activity }}.activity_type in ('email_click', 'email_open') or lower({{ activity }}.utm_medium) = 'email' then 'email'
        when lower({{ activity }}.utm_medium) in ('cpc', 'ppc', 'paidsearch', 'paid_search') then 'paid_search'
        when lower({{ activity }}.utm_medium) in ('paid_social', 'paidsocial', 'cpm') then 'paid_social'
        when lower({{ activity }}.utm_medium) in ('social', 'organic_social') then 'organic_social'
        when lower({{ activity }}.utm_medium) = 'display' then 'display'
        when {{ activity }}.utm_medium is not null then lower({{ activity }}.utm_medium)
        when {{ campaign_channel }} is not null then lower({{ campaign_channel }})
        when {{ activity }}.activity_type = 'webinar_attend' then 'webinar'
        when {{ is_referred_by(activity, 'google|bing|duckduckgo|yahoo|ecosia') }} then 'organic_search'
        when {{ is_referred_by(activity, 'linkedin|facebook|twitter|x|instagram|youtube') }} then 'organic_social'
        when coalesce({{ activity }}.referrer, '') <> '' then 'referral'
        else 'direct'
    end
{%- endmacro %}

{# Whether the referring host is one of the named sites in any top-level domain: the name as a whole label, or netflix.com would be x.com. #}
{% macro is_referred_by(activity, sites) -%}
    regexp_matches(coalesce({{ activity }}.referrer, ''), '(?i)^([a-z]+://)?([^/?#]*\.)?({{ sites }})(\.[a-z]{2,3}){1,2}([:/?#]|$)')
{%- endmacro %}
