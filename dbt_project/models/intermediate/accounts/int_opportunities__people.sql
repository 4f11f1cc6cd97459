-- The contacts of an opportunity, the primary one first.
with opportunities as (
    select * from {{ ref('int_opportunities__current') }}
),

roles as (
    select *
    from {{ ref('stg_salesforce__opportunity_contact_roles') }}
    where occurred_at <= {{ as_of() }}
    qualify row_number() over (partition by record_id order by occurred_at desc, received_at desc) = 1
),

records as (
    select * from {{ ref('entity_map') }}
    where known_to is null
),

named as (
    select
        system,
        record_id,
        unnest(from_json(contact_ids, '["VARCHAR"]')) as contact_id,
        generate_subscripts(from_json(contact_ids, '["VARCHAR"]'), 1) as position,
    from opportunities
    union all
    select
        system,
        opportunity_record_id as record_id,
        contact_id,
        case when is_primary then 0 else 1000 end as position,
    from roles
    where not is_deleted
),

keyed as (
    select
        system,
        record_id,
        position,
        {{ record_key('system', record_type_of('system', 'contact_id'), 'contact_id') }} as record_key,
    from named
    where contact_id is not null
)

select
    keyed.system,
    keyed.record_id,
    records.person_id,
    min(keyed.position) as position,
from keyed
inner join records on keyed.record_key = records.record_key
group by keyed.system, keyed.record_id, records.person_id
