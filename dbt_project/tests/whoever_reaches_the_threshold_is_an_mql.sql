-- Whose score is there now has crossed it at some time, whatever happened since.
select
    scores.person_id,
    scores.scoring_version,
    scores.total_score,
from {{ ref('fct_scores') }} as scores
inner join {{ source('raw_policies', 'scoring_versions') }} as versions
    on scores.scoring_version = versions.version
anti join {{ ref('fct_mqls') }} as mqls
    on scores.person_id = mqls.person_id and scores.scoring_version = mqls.scoring_version
where
    scores.total_score >= versions.mql_threshold
    -- Unless the policy takes them for nobody's lead, or this cell of its grid makes none.
    and scores.excluded_by is null
    and coalesce(list_contains(from_json(versions.mql_cells, '["VARCHAR"]'), scores.grade || scores.engagement_level), true)
