select
    record_key,
    record_type,
    person_id,
    account_id,
from {{ ref('entity_map') }}
where
    (record_type = 'account' and (person_id is not null or account_id is null))
    or (record_type <> 'account' and person_id is null)
