-- Accepted events have no table of their own: each record table is one slice of them.
{% set tables = ['contacts', 'accounts', 'opportunities', 'activities', 'consents', 'reps', 'campaigns', 'meetings', 'merges',
    'stage_changes', 'receipts', 'erasures'] %}
{% set records = ['contact', 'account', 'opportunity', 'activity', 'consent', 'rep', 'campaign', 'meeting', 'merge',
    'stage_change', 'receipt', 'erasure'] %}
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
-- What was accepted was accepted, whoever was erased since.
select
    event_type,
    seq,
    cast(null as varchar) as code,
    occurred_at,
    received_at,
    loaded_at,
    load_id,
from {{ ref('stg_events__erased_events') }}
where not is_kept
union all
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
