{# An instant as Salesforce's REST API writes it. #}
{% macro salesforce_instant(instant) -%}
    strftime({{ instant }} at time zone 'UTC', '%Y-%m-%dT%H:%M:%S.000+0000')
{%- endmacro %}

{# Characters a field of a lead holds (Object Reference for the Salesforce Platform, Lead); it refuses the whole record for one more. #}
{% macro salesforce_lead_length(field) -%}
    {{ return({
        'Email': 80, 'Phone': 40, 'FirstName': 40, 'LastName': 80, 'Company': 255, 'Title': 128, 'LeadSource': 255,
    }[field]) }}
{%- endmacro %}

{# As much of a text as the lead's field holds; null when nothing is left. #}
{% macro salesforce_lead_text(value, field) -%}
    nullif(trim(left(trim({{ value }}), {{ salesforce_lead_length(field) }})), '')
{%- endmacro %}

{# Whether a lead's field holds the value as it is: half an address or number reaches somebody else, so these are never cut. The space of
   other scripts counts as space here too, as it does for the expectations. #}
{% macro salesforce_lead_holds(value, field) -%}
    length(trim({{ value }})) <= {{ salesforce_lead_length(field) }}
    {%- if field == 'Email' %}
    and regexp_full_match(
        trim({{ value }}), '[^@\s\p{Z}\p{C},;<>()]+@[^@\s\p{Z}\p{C},;<>()]+\.[^@\s\p{Z}\p{C},;<>().]+'
    )
    {%- endif %}
{%- endmacro %}
