-- Accepted events have no table of their own: each record table is one slice of them.
{% set tables = ['contacts', 'accounts', 'opportunities', 'activities', 'consents', 'reps', 'campaigns', 'meetings', 'merges',
    'stage_changes', 'receipts'] %}
{% set records = ['contact', 'account', 'opportunity', 'activity', 'consent', 'rep', 'campaign', 'meeting', 'merge',
    'stage_change', 'receipt'] %}
{% for table in tables %}
select
    'com.handoff.{{ records[loop.index0] }}' as event_type,
    seq,
    cast(null as varchar) as code,
    occurred_at,
    received_at,
    to_timestamp(cast(_dlt_load_id as double)) as loaded_at,
    _dlt_load_id as load_id,
from {{ source('raw_events', table) }}
where {{ is_complete('raw_events') }}
union all
{% endfor %}
select
    coalesce(event_type, 'unreadable') as event_type,
    seq,
    code,
    cast(null as timestamptz) as occurred_at,
    received_at,
    to_timestamp(cast(_dlt_load_id as double)) as loaded_at,
    _dlt_load_id as load_id,
from {{ source('raw_events', 'rejections') }}
where {{ is_complete('raw_events') }}
