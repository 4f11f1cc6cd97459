-- Marketo keeps a no as a property of the lead; each version that says it first is one consent record. That the property was cleared says
-- nothing of a consent.
with leads as (
    select * from {{ source('raw_marketo', 'leads') }}
    where {{ is_complete('raw_marketo') }}
),

stated as (
    select
        record_id,
        unnest(['email', 'phone']) as channel,
        lower(unnest([{{ json_text('payload', 'unsubscribed') }}, {{ json_text('payload', 'doNotCall') }}])) in ('true', '1') as is_refused,
        coalesce({{ instant_of(json_text('payload', 'updatedAt')) }}, updated_at) as occurred_at,
        received_at,
        _dlt_load_id as load_id,
    from leads
),

compared as (
    select
        *,
        lag(is_refused) over (
            partition by record_id, channel
            order by occurred_at, received_at
        ) as was_refused,
    from stated
)

select
    'marketo/' || record_id || '/' || channel || '/' || epoch_us(occurred_at) as consent_record_id,
    'marketo' as system,
    record_id as contact_id,
    channel,
    'marketing' as purpose,
    'consent' as lawful_basis,
    'withdrawn' as status,
    'marketo lead property' as source,
    occurred_at,
    received_at,
    load_id,
from compared
where is_refused and was_refused is not true
