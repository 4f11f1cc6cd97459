-- What does not fit the fields of the systems that are written to: a value of one person must neither stop the others nor vanish unseen.
{% set fields = {
    'Email': 'email', 'Phone': 'phone', 'FirstName': 'first_name', 'LastName': 'last_name', 'Company': 'company', 'Title': 'job_title',
    'LeadSource': 'original_source',
} %}
{% set never_cut = ['Email', 'Phone'] %}

with assignments as (
    select distinct person_id from {{ ref('fct_assignments') }}
),

people as (
    select * from {{ ref('dim_people') }}
    where not is_deleted
),

assigned as (
    select people.*
    from people
    inner join assignments on people.person_id = assignments.person_id
),

misfits as (
    {% for field, column in fields.items() %}
    select
        person_id,
        '{{ field }}' as field,
        '{{ 'held_back' if field in never_cut else 'shortened' }}' as outcome,
        length(trim({{ column }})) as character_count,
        {{ salesforce_lead_length(field) }} as character_limit,
    from assigned
    where not ({{ salesforce_lead_holds(column, field) }})
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
)

select
    person_id,
    'salesforce' as destination,
    'Lead' as object,
    field,
    outcome,
    case when character_count > character_limit then 'too_long' else 'malformed' end as reason,
    character_count,
    character_limit,
from misfits
