{# What HubSpot tells twice is the same to the millisecond: once as event occurrence, once in the e-mail log or among a form's submissions.
   Null for types it tells once. #}
{% macro told_twice(activity_type, form_id, occurred_at) -%}
    case
        when {{ activity_type }} in ('email_open', 'email_click', 'form_submit')
            then concat_ws('/', {{ activity_type }}, {{ form_id }}, epoch_ms({{ occurred_at }}))
    end
{%- endmacro %}
