{{ config(tags=['on_demand']) }}

-- What a version of the lead model learns from, made when `handoff train` asks for it (variable `lead_model`), and dropped after: every
-- lead that has had its time, what was known of it then, and what became of it.
{% set nothing = {
    'features': [],
    'learn_from': 'mqls',
    'outcome': 'accepted',
    'silence': 'failure',
    'within_days': 30,
    'imported_before': none,
} %}
{% set model = var('lead_model') or nothing %}
{% set asked %}
{% if model['learn_from'] == 'mqls' %}
    {{ mqls_asked(model['imported_before']) }}
{% else %}
    select
        records.person_id as example_id,
        records.person_id,
        min({{ known_at('versions', model['imported_before']) }}) as instant,
    from {{ ref('entity_map') }} as records
    inner join {{ ref('int_contacts__versions') }} as versions on records.record_key = versions.record_key
    where records.known_to is null and records.person_id is not null and records.person_id not in ({{ people_not_scored() }})
    group by records.person_id
{% endif %}
{% endset %}
{% set versions %}select * from {{ ref('int_activities__told') }}{% endset %}

{{ features_are_made_of() }}
with {{ features_at(asked, model['features'], versions, model['imported_before']) }},

outcomes as (
    {{ what_became_of(
        'features', ['example_id'], 'features.instant',
        'features.instant + to_seconds(86400 * ' ~ model['within_days'] ~ ')', signs_of_success(model['outcome'])
    ) }}
)

select
    features.*,
    outcomes.succeeded_at is not null as is_positive,
    outcomes.rejected_at is not null as is_rejected,
from features
left join outcomes on features.example_id = outcomes.example_id
where
    features.instant + to_seconds(86400 * {{ model['within_days'] }}) <= {{ as_of() }}
    and ('{{ model["silence"] }}' = 'failure' or coalesce(outcomes.succeeded_at, outcomes.rejected_at) is not null)
