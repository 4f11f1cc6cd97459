{# Of what a system tells twice of somebody (`whose`) the telling that counts: the last; of equal ones the one that names a campaign. #}
{% macro told_last(whose) -%}
    qualify row_number() over (
        partition by {{ whose }}, system, coalesce(occurrence_key, activity_id)
        order by changed_at desc, campaign_id is null asc, received_at asc, activity_id asc
    ) = 1
{%- endmacro %}

{# What HubSpot tells twice is the same to the millisecond: once as event occurrence, once in the e-mail log or among a form's submissions.
   Null for types it tells once. #}
{% macro told_twice(activity_type, form_id, occurred_at) -%}
    case
        when {{ activity_type }} in ('email_open', 'email_click', 'form_submit')
            then concat_ws('/', {{ activity_type }}, {{ form_id }}, epoch_ms({{ occurred_at }}))
    end
{%- endmacro %}
