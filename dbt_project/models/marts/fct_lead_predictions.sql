{{ features_are_made_of() }}
with predicted as (
    {{ every_prediction(of_mqls=false) }}
)

select
    person_id,
    model_version,
    model_id,
    is_champion,
    probability,
    reasons,
    predicted_at,
from predicted
