select distinct
    ledger.person_id,
    ledger.scoring_version,
from {{ ref('fct_score_ledger') }} as ledger
anti join {{ ref('fct_scores') }} as scores
    on ledger.person_id = scores.person_id and ledger.scoring_version = scores.scoring_version
