{# An instant as the webhooks write it: ISO 8601 in UTC. #}
{% macro iso_instant(instant) -%}
    {{ return(adapter.dispatch('iso_instant')(instant)) }}
{%- endmacro %}
{% macro default__iso_instant(instant) -%}
    strftime({{ instant }} at time zone 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')
{%- endmacro %}

{# What is told of a meeting, whether it was booked or is over. #}
{% macro meeting_payload() -%}
    json_object(
        'person_id', person_id,
        'account_id', account_id,
        'meeting_id', meeting_id,
        'system', system,
        'system_meeting_id', system_meeting_id,
        'rep_id', rep_id,
        'status', status,
        'time_zone', time_zone,
        'starts_at', {{ iso_instant('starts_at') }},
        'ends_at', {{ iso_instant('ends_at') }},
        'booked_at', {{ iso_instant('booked_at') }},
        'changed_at', {{ iso_instant('changed_at') }}
    )
{%- endmacro %}
