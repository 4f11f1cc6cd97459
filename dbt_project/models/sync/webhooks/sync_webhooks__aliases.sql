{{ config(materialized='view') }}

-- Each record would be a person of this id by itself, so these are the ids a person can have been told under before a merge.
with records as (
    select * from {{ ref('int_identity__people') }}
)

select
    person_id,
    {{ guid(['system', 'record_type', 'record_id']) }} as alias_person_id,
    record_key,
from records
