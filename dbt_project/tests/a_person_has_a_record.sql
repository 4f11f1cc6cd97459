-- Who was merged away leaves no row behind.
select people.person_id
from {{ ref('dim_people') }} as people
anti join {{ ref('entity_map') }} as records on people.person_id = records.person_id and records.is_current
