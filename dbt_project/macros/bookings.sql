{# People of a booking tool's records, as the connector has put them under `handoff`: `created_at` is the tool's name for when the record was made. #}
{% macro booked_contacts(system, table, created_at) -%}
with booked as (
    select
        *,
        json_extract(payload, '$.handoff.contact') as contact,
    from {{ source('raw_' ~ system, table) }}
    where {{ is_complete('raw_' ~ system) }}
)

select
    {{ record_key("'" ~ system ~ "'", "'contact'", json_text('contact', 'record_id')) }} as record_key,
    '{{ system }}' as system,
    'contact' as record_type,
    {{ json_text('contact', 'record_id') }} as record_id,
    {{ json_text('contact', 'email') }} as email,
    {{ json_text('contact', 'phone') }} as phone,
    {{ json_text('contact', 'first_name') }} as first_name,
    {{ json_text('contact', 'last_name') }} as last_name,
    false as is_deleted,
    -- One of several bookings of a person: what it leaves out another may have said.
    false as is_full_state,
    cast([] as varchar[]) as null_fields,
    {{ instant_of(json_text('payload', created_at)) }} as created_at,
    {{ instant_of(json_text('payload', created_at)) }} as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from booked
where {{ json_text('contact', 'record_id') }} is not null
{%- endmacro %}
