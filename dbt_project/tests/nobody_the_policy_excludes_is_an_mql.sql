select
    mqls.mql_id,
    scores.excluded_by,
from {{ ref('fct_mqls') }} as mqls
inner join {{ ref('fct_scores') }} as scores
    on mqls.person_id = scores.person_id and mqls.scoring_version = scores.scoring_version
where scores.excluded_by is not null
