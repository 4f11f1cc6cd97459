-- What people have said of two records and still counts; in whatever order they named the two.
with directives as (
    select * from {{ ref('int_identity__merges_unioned') }}
    where system = 'handoff'
    qualify row_number() over (
        partition by least(surviving_key, merged_key), greatest(surviving_key, merged_key)
        order by occurred_at desc, received_at desc, seq desc
    ) = 1
),

in_force as (
    {{ directives_in_force() }}
),

people as (
    select * from {{ ref('int_identity__people') }}
),

hidden as (
    select * from {{ ref('hidden_people') }}
)

select
    {{ guid(['in_force.left_record_key', 'in_force.right_record_key']) }} as directive_id,
    left_people.system as left_system,
    left_people.record_type as left_record_type,
    left_people.record_id as left_record_id,
    left_people.person_id as left_person_id,
    right_people.system as right_system,
    right_people.record_type as right_record_type,
    right_people.record_id as right_record_id,
    right_people.person_id as right_person_id,
    case when directives.is_unmerge then 'split' else 'merge' end as word,
    directives.occurred_at,
    directives.received_at,
from directives
inner join in_force
    on
        least(directives.surviving_key, directives.merged_key) = in_force.left_record_key
        and greatest(directives.surviving_key, directives.merged_key) = in_force.right_record_key
inner join people as left_people on in_force.left_record_key = left_people.record_key
inner join people as right_people on in_force.right_record_key = right_people.record_key
where
    case when directives.is_unmerge then in_force.is_apart else in_force.is_merged end
    and left_people.person_id not in (select hidden.person_id from hidden)
    and right_people.person_id not in (select hidden.person_id from hidden)
