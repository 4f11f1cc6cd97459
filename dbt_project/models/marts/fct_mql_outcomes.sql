{% set models = trained_models() %}
{% set versions %}select * from {{ ref('int_activities__told') }}{% endset %}

{{ features_are_made_of() }}
with changes as (
    select * from {{ ref('fct_stage_changes') }}
),

predicted as (
    {% for model in models %}
    {% set asked %}
        select
            mqls.mql_id as example_id,
            mqls.person_id,
            {{ mql_instant('mqls', model['imported_before']) }} as instant,
        from {{ ref('fct_mqls') }} as mqls
        where mqls.person_id not in ({{ people_not_scored() }})
    {% endset %}
    select
        example_id as mql_id,
        person_id,
        '{{ model["version"] }}' as model_version,
        '{{ model["model_id"] }}' as model_id,
        {{ model['is_active'] }} as is_champion,
        probability,
        reasons,
        instant as predicted_at,
        instant + to_seconds(86400 * {{ model['within_days'] }}) as decided_by,
        {{ stages_of_success(model['outcome']) | replace('(', '[') | replace(')', ']') }} as stages_of_success,
    from ({{ predictions(model, asked, versions) }})
    {{ 'union all' if not loop.last }}
    {% endfor %}
    {% if not models %}
    select
        mql_id,
        person_id,
        cast(null as varchar) as model_version,
        cast(null as varchar) as model_id,
        cast(null as boolean) as is_champion,
        cast(null as double) as probability,
        cast(null as varchar) as reasons,
        reached_at as predicted_at,
        reached_at as decided_by,
        cast([] as varchar[]) as stages_of_success,
    from {{ ref('fct_mqls') }}
    where false
    {% endif %}
),

successes as (
    select
        predicted.mql_id,
        predicted.model_version,
        min(changes.changed_at) as succeeded_at,
    from predicted
    inner join changes
        on
            predicted.person_id = changes.person_id
            and predicted.predicted_at <= changes.changed_at
            and predicted.decided_by >= changes.changed_at
    where list_contains(predicted.stages_of_success, changes.to_stage)
    group by predicted.mql_id, predicted.model_version
)

select
    predicted.mql_id,
    predicted.person_id,
    predicted.model_version,
    predicted.model_id,
    predicted.is_champion,
    predicted.probability,
    predicted.reasons,
    case
        when successes.succeeded_at is not null then 'success'
        when predicted.decided_by <= {{ as_of() }} then 'failure'
        else 'open'
    end as outcome,
    successes.succeeded_at,
    predicted.predicted_at,
    predicted.decided_by,
from predicted
left join successes on predicted.mql_id = successes.mql_id and predicted.model_version = successes.model_version
