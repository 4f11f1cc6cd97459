-- Who would be pushed if consent allowed it.
with assignments as (
    select distinct person_id from {{ ref('fct_assignments') }}
),

consents as (
    select * from {{ ref('int_consents__destinations') }}
    where not is_consented
)

select
    consents.person_id,
    consents.destination,
    consents.consent_state,
from consents
inner join assignments on consents.person_id = assignments.person_id
