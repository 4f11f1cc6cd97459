{% set models = trained_models() %}
{% set versions %}select *, 0 as seq from {{ ref('int_activities__unioned') }}{% endset %}
{% set asked %}
    select
        person_id as example_id,
        person_id,
        {{ as_of() }} as instant,
    from {{ ref('dim_people') }}
    where not is_deleted and person_id not in ({{ people_not_scored() }})
{% endset %}

{{ features_are_made_of() }}
{% for model in models %}
select
    person_id,
    '{{ model["version"] }}' as model_version,
    '{{ model["model_id"] }}' as model_id,
    {{ model['is_active'] }} as is_champion,
    probability,
    reasons,
    instant as predicted_at,
from ({{ predictions(model, asked, versions) }})
{{ 'union all' if not loop.last }}
{% endfor %}
{% if not models %}
select
    person_id,
    cast(null as varchar) as model_version,
    cast(null as varchar) as model_id,
    cast(null as boolean) as is_champion,
    cast(null as double) as probability,
    cast(null as varchar) as reasons,
    {{ as_of() }} as predicted_at,
from {{ ref('dim_people') }}
where false
{% endif %}
