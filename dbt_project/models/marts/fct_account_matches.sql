{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched_since_pass',
    unique_key='person_id',
    indexes=[{'columns': ['person_id']}],
) }}

-- depends_on: {{ ref('int_batch__touched_people') }}
-- depends_on: {{ source('raw_policies', 'accounts_choices') }}
{% set criteria = account_choices('tie_break') %}

with people as (
    select * from {{ ref('int_accounts__people') }}
    where {{ where_touched() }}
    {{ looked_up() }}
),

policy as (
    select version from {{ source('raw_policies', 'policy_versions') }}
    where is_active and kind = 'accounts'
),

candidates as (
    select
        person_id,
        decided_by,
        candidate_count,
        unnest(from_json(candidates, '["JSON"]')) as candidate,
        unnest(generate_series(1, candidate_count)) as rank,
    from people
)

select
    {{ guid(["'account_match'", 'person_id', json_text('candidate', 'account_id')]) }} as account_match_id,
    person_id,
    {{ json_text('candidate', 'account_id') }} as account_id,
    {{ json_text('candidate', 'evidence') }} as evidence,
    {{ json_text('candidate', 'evidence_value') }} as evidence_value,
    case when rank = 1 then decided_by end as decided_by,
    case
        when json_type(candidate, '$.tie_breaks') = 'ARRAY'
            then cast(
                to_json(
                    {
                        {% for criterion in criteria %}
                        '{{ criterion }}': cast(json_extract(candidate, '$.tie_breaks[{{ loop.index0 }}]') as bigint){{ ',' if not loop.last }}
                        {% else %}
                        'account_id': 0
                        {% endfor %}
                    }
                ) as varchar
            )
    end as tie_breaks,
    rank,
    candidate_count,
    rank = 1 as is_chosen,
    policy.version as policy_version,
from candidates
cross join policy
