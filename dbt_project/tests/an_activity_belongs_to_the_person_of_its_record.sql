select
    activities.activity_id,
    activities.person_id,
    records.person_id as record_person_id,
from {{ ref('fct_activities') }} as activities
inner join {{ ref('int_activities__unioned') }} as unioned on activities.activity_id = unioned.activity_id
left join {{ ref('entity_map') }} as records on unioned.record_key = records.record_key and records.is_current
where activities.person_id is distinct from records.person_id
