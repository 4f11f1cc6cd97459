with memberships as (
    select * from {{ source('raw_calendly', 'organization_memberships') }}
    where {{ is_complete('raw_calendly') }}
)

select
    'calendly' as system,
    record_id,
    {{ json_text('payload', 'user.email') }} as email,
    {{ json_text('payload', 'user.name') }} as name,
    {{ json_text('payload', 'user.timezone') }} as time_zone,
    true as is_active,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from memberships
