{{ features_are_made_of() }}
with changes as (
    select * from {{ ref('fct_stage_changes') }}
),

predicted as (
    {{ every_prediction(of_mqls=true) }}
),

successes as (
    select
        predicted.example_id,
        predicted.model_version,
        min(changes.changed_at) as succeeded_at,
    from predicted
    inner join changes
        on
            predicted.person_id = changes.person_id
            and predicted.predicted_at <= changes.changed_at
            and predicted.decided_by >= changes.changed_at
    where list_contains(predicted.stages_of_success, changes.to_stage)
    group by predicted.example_id, predicted.model_version
)

select
    predicted.example_id as mql_id,
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
left join successes on predicted.example_id = successes.example_id and predicted.model_version = successes.model_version
