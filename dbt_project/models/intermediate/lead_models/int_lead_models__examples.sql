{{ config(tags=['on_demand']) }}

-- What a version of the lead model learns from, made when `handoff train` asks for it (variable `lead_model`), and dropped after: every
-- lead that has had its time, what was known of it then, and what became of it.
{% set nothing = {'features': [], 'learn_from': 'mqls', 'outcome': 'accepted', 'within_days': 30, 'imported_before': none} %}
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

successes as (
    select
        features.example_id,
        min(changes.changed_at) as succeeded_at,
    from features
    inner join {{ ref('fct_stage_changes') }} as changes
        on
            features.person_id = changes.person_id
            and features.instant <= changes.changed_at
            and features.instant + to_seconds(86400 * {{ model['within_days'] }}) >= changes.changed_at
    where list_contains(['{{ stages_of_success(model["outcome"]) | join("', '") }}'], changes.to_stage) -- noqa: LT05
    group by features.example_id
)

select
    features.*,
    successes.succeeded_at is not null as is_positive,
from features
left join successes on features.example_id = successes.example_id
where features.instant + to_seconds(86400 * {{ model['within_days'] }}) <= {{ as_of() }}
