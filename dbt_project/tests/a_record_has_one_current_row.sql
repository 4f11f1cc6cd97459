select
    system,
    record_type,
    record_id,
    count(*) filter (where is_current) as current_count,
from {{ ref('entity_map') }}
group by system, record_type, record_id
having count(*) filter (where is_current) <> 1
