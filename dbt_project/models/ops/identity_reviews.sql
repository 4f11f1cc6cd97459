-- depends_on: {{ source('raw_policies', 'identity_matching') }}
-- Pairs that weigh enough to be asked about and are two people still; what a person has said no to is not asked again, and whom consent
-- hides is shown to nobody.
with pairs as (
    select * from {{ ref('int_identity__matches') }}
    where decision in ('link', 'review')
),

people as (
    select * from {{ ref('int_identity__people') }}
),

links as (
    select * from {{ ref('int_identity__links') }}
),

features as (
    select * from {{ ref('int_identity__features') }}
),

held_apart as (
    {{ records_held_apart() }}
),

hidden as (
    select * from {{ ref('hidden_people') }}
)

select
    {{ guid(['left_people.system', 'left_people.record_id', 'right_people.system', 'right_people.record_id']) }} as match_id,
    left_people.system as left_system,
    left_people.record_type as left_record_type,
    left_people.record_id as left_record_id,
    left_people.person_id as left_person_id,
    cast(to_json(left_features.features) as varchar) as left_values,
    right_people.system as right_system,
    right_people.record_type as right_record_type,
    right_people.record_id as right_record_id,
    right_people.person_id as right_person_id,
    cast(to_json(right_features.features) as varchar) as right_values,
    links.refused_reason,
    pairs.waterfall,
    pairs.parameters_version,
    pairs.match_weight,
    pairs.match_probability,
from pairs
inner join people as left_people on pairs.left_record_key = left_people.record_key
inner join people as right_people on pairs.right_record_key = right_people.record_key
inner join features as left_features on pairs.left_record_key = left_features.record_key
inner join features as right_features on pairs.right_record_key = right_features.record_key
left join links
    on pairs.left_record_key = links.left_record_key and pairs.right_record_key = links.right_record_key
where
    left_people.person_id <> right_people.person_id
    and (pairs.left_record_key, pairs.right_record_key) not in (
        select (held_apart.left_record_key, held_apart.right_record_key) from held_apart
    )
    and left_people.person_id not in (select hidden.person_id from hidden)
    and right_people.person_id not in (select hidden.person_id from hidden)
