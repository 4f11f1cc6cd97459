select
    mqls.mql_id,
    mqls.score,
    versions.mql_threshold,
from {{ ref('fct_mqls') }} as mqls
left join {{ source('raw_policies', 'scoring_versions') }} as versions
    on mqls.scoring_version = versions.version
where coalesce(mqls.score < versions.mql_threshold, true)
