{{ config(materialized='incremental', incremental_strategy='append', indexes=[{'columns': ['record_key']}]) }}

-- Who did not come, as far as any system said so; a batch of decisions finds them by the record. What is new is what was loaded after its
-- own newest row.
{% set newest = newest_load() %}

with versions as (
    {{ union_by_name([
        ref('int_meetings__versions'),
        ref('stg_calendly__meetings'),
        ref('stg_calcom__meetings'),
    ]) }}
)

select
    {{ record_key(
        'system',
        "case when contact_id is null then 'email' else " ~ record_type_of('system', 'contact_id') ~ " end",
        'coalesce(contact_id, lower(trim(attendee_email)))'
    ) }} as record_key,
    system,
    rep_id,
    lower(trim(rep_email)) as rep_email,
    occurred_at,
    received_at,
    load_id,
from versions
where
    status = 'no_show'
    and (contact_id is not null or attendee_email is not null)
{% if is_incremental() %}
        and load_id > '{{ newest }}'
    {% endif %}
