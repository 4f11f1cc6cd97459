{{ features_are_made_of() }}
with predicted as (
    {{ every_prediction(of_mqls=true) }}
),

outcomes as (
    {{ what_became_of(
        'predicted', ['example_id', 'model_version'], 'predicted.predicted_at', 'predicted.decided_by', 'predicted.signs_of_success'
    ) }}
)

select
    predicted.example_id as mql_id,
    predicted.person_id,
    predicted.model_version,
    predicted.model_id,
    predicted.is_champion,
    predicted.probability,
    predicted.reasons,
    predicted.features,
    case
        when outcomes.succeeded_at is not null then 'success'
        when coalesce(predicted.decided_by > {{ as_of() }}, true) then 'open'
        when outcomes.rejected_at is null and predicted.silence = 'unknown' then 'unknown'
        else 'failure'
    end as outcome,
    outcomes.succeeded_at,
    outcomes.rejected_at,
    predicted.predicted_at,
    predicted.decided_by,
from predicted
left join outcomes on predicted.example_id = outcomes.example_id and predicted.model_version = outcomes.model_version
