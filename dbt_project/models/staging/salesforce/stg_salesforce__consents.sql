-- Salesforce keeps objections as boxes of the lead or contact; each version that ticks one is one consent record. A box that is not ticked
-- says nothing: it is so on every record nobody asked about.
with people as (
    select
        record_id,
        payload,
        updated_at,
        received_at,
        _dlt_load_id as load_id,
    from {{ source('raw_salesforce', 'leads') }}
    where {{ is_complete('raw_salesforce') }}
    union all
    select
        record_id,
        payload,
        updated_at,
        received_at,
        _dlt_load_id as load_id,
    from {{ source('raw_salesforce', 'contacts') }}
    where {{ is_complete('raw_salesforce') }}
),

boxes as (
    {% for channel, box in [('email', 'HasOptedOutOfEmail'), ('phone', 'DoNotCall')] %}
    select
        record_id,
        '{{ channel }}' as channel,
        '{{ box }}' as box,
        coalesce(try_cast({{ json_text('payload', box) }} as boolean), false) as is_ticked,
        updated_at,
        received_at,
        load_id,
    from people
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

compared as (
    select
        *,
        coalesce(
            lag(is_ticked) over (
                partition by record_id, channel
                order by updated_at, received_at
            ),
            false
        ) as was_ticked,
    from boxes
)

select
    'salesforce/' || record_id || '/' || channel || '/' || epoch_us(updated_at) as consent_record_id,
    'salesforce' as system,
    record_id as contact_id,
    channel,
    'marketing' as purpose,
    'not_applicable' as lawful_basis,
    'withdrawn' as status,
    'salesforce ' || box as source,
    updated_at as occurred_at,
    received_at,
    load_id,
from compared
where is_ticked and not was_ticked
