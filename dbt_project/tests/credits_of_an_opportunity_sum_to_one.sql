select
    opportunity_id,
    attribution_model,
    sum(credit_weight) as credit,
from {{ ref('fct_attribution') }}
group by opportunity_id, attribution_model
having abs(sum(credit_weight) - 1) > 1e-9
