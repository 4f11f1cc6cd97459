{{ config(
    materialized='incremental',
    incremental_strategy='replace_mapped',
    unique_key='record_key',
    indexes=[{'columns': ['record_key']}, {'columns': ['person_id']}],
    pre_hook="{{ gather_visitors_mapped() }}",
) }}

-- Whom the batch touched is told from this table as it was before. A record has a row that is current, and one for each time at which
-- something else was known of whose it is, or of how long it exists in its system.
-- depends_on: {{ ref('int_batch__changed_records') }}
-- depends_on: {{ ref('int_batch__touched_people') }}
-- depends_on: {{ ref('stg_events__accounts') }}
-- depends_on: {{ ref('stg_hubspot__companies') }}
-- depends_on: {{ ref('stg_salesforce__accounts') }}
-- depends_on: {{ ref('stg_enrichment__companies') }}
-- One account may change which of its group stands for all: of a batch that says something of any, all are compared.
{% set with_accounts = not is_incremental() or has_rows(accounts_stated()) %}
-- Of two that are two people all the same, what both carry links neither.
-- depends_on: {{ ref('int_identity__merges_unioned') }}
-- depends_on: {{ source('raw_policies', 'identity_identifiers') }}
{% set with_splits = has_splits() %}
{% set is_divided = has_divided_people() %}

with people as (
    select * from {{ ref('int_identity__people') }}
    {% if is_incremental() %}
        where
            record_key in (
                {{ records_resolved_by_batch() }}
                union
                select record_key from {{ ref('int_batch__changed_records') }} where is_changed
            )
    {% endif %}
),

contacts as (
    select * from {{ ref('int_contacts__current') }}
    {% if is_incremental() %}
        where record_key in (select people.record_key from people)
    {% endif %}
    {{ looked_up() }}
),

accounts as (
    select * from {{ ref('int_accounts__current') }}
),

chosen as (
    select
        person_id,
        account_id,
    from {{ ref('int_accounts__people') }}
    {% if is_incremental() %}
        where person_id in (select people.person_id from people)
    {% endif %}
    {{ looked_up() }}
),

own as (
    select * from {{ ref('int_identity__identifiers') }}
    {% if is_incremental() %}
        where record_key in (select people.record_key from people)
    {% endif %}
    {{ looked_up() }}
),

carried as (
    select * from {{ ref('int_identity__identifiers') }}
    {% if is_incremental() %}
        where identifier_key in (select own.identifier_key from own)
    {% endif %}
    {{ looked_up() }}
),

shared as (
    select
        identifier_key,
        any_value(max_records) as max_records,
        count(*) as record_count,
    from carried
    where is_linking
    group by identifier_key
    having count(*) > 1
),

{% if is_divided %}
whose as (
    select
        record_key,
        person_id,
    from {{ ref('int_identity__people') }}
    {% if is_incremental() %}
        where record_key in (select carried.record_key from carried)
    {% endif %}
    {{ looked_up() }}
),

-- Who carries an identifier together with another record of the same person.
carriers as (
    select
        carried.record_key,
        carried.identifier_key,
    from carried
    inner join whose on carried.record_key = whose.record_key
    qualify count(*) over (partition by carried.identifier_key, whose.person_id) > 1
),
{% endif %}

linked as (
    select
        own.record_key,
        to_json(
            list(
                {
                    'identifier_type': own.identifier_type,
                    'identifier_value': own.identifier_value,
                    'record_count': shared.record_count
                }
                order by own.identifier_type, own.identifier_value
            )
        ) as evidence,
    from own
    inner join shared on own.identifier_key = shared.identifier_key
    {% if is_divided %}
        inner join carriers on own.record_key = carriers.record_key and own.identifier_key = carriers.identifier_key
    {% endif %}
    where own.is_linking and shared.record_count <= shared.max_records
    group by own.record_key
),

{% if with_splits %}
held_apart as (
    select
        sides.record_key,
        list(
            to_json({
                'identifier_type': 'held_apart',
                'identifier_value': others.system || ':' || others.record_id,
                'record_count': 2
            })
            order by others.system, others.record_id
        ) as evidence,
    from (
        select
            unnest([left_record_key, right_record_key]) as record_key,
            unnest([right_record_key, left_record_key]) as other_key,
        from ({{ records_held_apart('select people.record_key from people' if is_incremental() else none) }})
    ) as sides
    inner join {{ ref('int_identity__people') }} as others on sides.other_key = others.record_key
    group by sides.record_key
),
{% endif %}

links as (
    select * from {{ ref('int_identity__links') }}
    {% if is_incremental() %}
        where left_record_key in (select people.record_key from people)
    {% endif %}
    {{ looked_up() }}
),

-- Both records of an accepted link say so, each of the other, with the weight and what it was scored with.
matched as (
    select
        sides.record_key,
        list(
            to_json({
                'identifier_type': 'match',
                'identifier_value': others.system || ':' || others.record_id,
                'record_count': 2,
                'match_weight': round(sides.match_weight, 4),
                'match_probability': round(sides.match_probability, 6),
                'parameters_version': sides.parameters_version
            })
            order by others.system, others.record_id
        ) as evidence,
    from (
        select
            unnest([left_record_key, right_record_key]) as record_key,
            unnest([right_record_key, left_record_key]) as other_key,
            match_weight,
            match_probability,
            parameters_version,
        from links
        where is_accepted
    ) as sides
    inner join people as others on sides.other_key = others.record_key
    group by sides.record_key
),

history as (
    select * from {{ ref('int_identity__history') }}
    {% if is_incremental() %}
        where record_key in (select people.record_key from people)
    {% endif %}
    {{ looked_up() }}
),

policy as (
    select max(version) as version from {{ source('raw_policies', 'identity_versions') }}
    where is_active
),

people_mapped as (
    select
        people.record_key,
        people.system,
        people.record_type,
        people.record_id,
        people.person_id,
        chosen.account_id,
        case
            when matched.evidence is null {% if with_splits %}and held_apart.evidence is null{% endif %}
                then coalesce(cast(linked.evidence as varchar), '[]')
            else cast(
                to_json(
                    list_concat(
                        coalesce(from_json(linked.evidence, '["JSON"]'), []),
                        coalesce(matched.evidence, [])
                        {% if with_splits %}, coalesce(held_apart.evidence, []){% endif %}
                    )
                ) as varchar
            )
        end as evidence,
        history.link_path,
        policy.version as policy_version,
        coalesce(contacts.is_deleted, false) as is_deleted,
        history.valid_from,
        history.valid_to,
        history.known_from,
        history.known_to,
        people.first_received_at,
    from people
    inner join history on people.record_key = history.record_key and history.known_to is null
    cross join policy
    left join contacts on people.record_key = contacts.record_key
    left join linked on people.record_key = linked.record_key
    left join chosen on people.person_id = chosen.person_id
    left join matched on people.record_key = matched.record_key
    {% if with_splits %}
        left join held_apart on people.record_key = held_apart.record_key
    {% endif %}
),

people_mapped_once as (
    select
        people.record_key,
        people.system,
        people.record_type,
        people.record_id,
        history.person_id,
        cast(null as varchar) as account_id,
        history.link_path as evidence,
        history.link_path,
        policy.version as policy_version,
        history.valid_to is not null as is_deleted,
        history.valid_from,
        history.valid_to,
        history.known_from,
        history.known_to,
        people.first_received_at,
    from people
    inner join history on people.record_key = history.record_key
    cross join policy
    where history.known_to is not null
),

sightings as (
    select * from {{ ref('int_identity__sightings') }}
    {% if is_incremental() %}
        where visitor_key in (select visitor_key from {{ visitors_mapped() }})
    {% endif %}
    {{ looked_up() }}
),

sighted_people as (
    select
        record_key,
        person_id,
        system || ':' || record_id as named,
        first_received_at,
    from {{ ref('int_identity__people') }}
    {% if is_incremental() %}
        where record_key in (select sightings.record_key from sightings)
    {% endif %}
    {{ looked_up() }}
),

-- A browser that was seen with two people is shared, and stands for none.
visitors as (
    select
        sightings.visitor_key,
        any_value(sightings.system) as system,
        any_value(sightings.anonymous_id) as anonymous_id,
        any_value(sighted_people.person_id) as person_id,
        count(*) as record_count,
        arg_min(
            row(sighted_people.record_key, sighted_people.named), row(sighted_people.first_received_at, sighted_people.record_key)
        ) as seen_with,
        min(sightings.first_seen_at) as first_seen_at,
        max(sightings.last_seen_at) as last_seen_at,
        min(sightings.first_received_at) as first_received_at,
    from sightings
    inner join sighted_people on sightings.record_key = sighted_people.record_key
    group by sightings.visitor_key
    having min(sighted_people.person_id) = max(sighted_people.person_id)
),

ways_on as (
    select * from {{ ref('int_identity__history') }}
    {% if is_incremental() %}
        where record_key in (select visitors.seen_with[1] from visitors)
    {% endif %}
    {{ looked_up() }}
),

visitors_accounts as (
    select
        person_id,
        account_id,
    from {{ ref('int_accounts__people') }}
    {% if is_incremental() %}
        where person_id in (select visitors.person_id from visitors)
    {% endif %}
    {{ looked_up() }}
),

anonymous_ids as (
    select expires_after_days from {{ source('raw_policies', 'identity_anonymous_ids') }}
    where is_active
),

visitors_mapped as (
    select
        visitors.*,
        visitors_accounts.account_id,
        policy.version as policy_version,
        visitors.first_seen_at - to_days(anonymous_ids.expires_after_days) as valid_from,
        visitors.last_seen_at + to_days(anonymous_ids.expires_after_days) as valid_to,
        visitors.system || ':' || visitors.anonymous_id as identifier_value,
    from visitors
    cross join anonymous_ids
    cross join policy
    left join visitors_accounts on visitors.person_id = visitors_accounts.person_id
),

{% if with_accounts %}
accounts_mapped as (
    select
        {{ record_key('system', "'account'", 'record_id') }} as record_key,
        system,
        'account' as record_type,
        record_id,
        cast(null as varchar) as person_id,
        account_id,
        evidence,
        cast(null as varchar) as link_path,
        cast(null as varchar) as policy_version,
        is_deleted,
        first_received_at as valid_from,
        cast(null as timestamptz) as valid_to,
        first_received_at as known_from,
        cast(null as timestamptz) as known_to,
        first_received_at,
    from accounts
    {% if is_incremental() %}
        except
        select
            record_key,
            system,
            record_type,
            record_id,
            person_id,
            account_id,
            evidence,
            link_path,
            policy_version,
            is_deleted,
            valid_from,
            valid_to,
            known_from,
            known_to,
            first_received_at,
        from {{ this }}
        where record_type = 'account'
    {% endif %}
),
{% endif %}

mapped as (
    select * from people_mapped
    union all
    select * from people_mapped_once
    union all by name
    select
        visitors_mapped.visitor_key as record_key,
        visitors_mapped.system,
        'visitor' as record_type,
        visitors_mapped.anonymous_id as record_id,
        visitors_mapped.person_id,
        visitors_mapped.account_id,
        cast(json_array(json_object(
            'identifier_type', 'anonymous_id',
            'identifier_value', visitors_mapped.identifier_value,
            'record_count', visitors_mapped.record_count + 1
        )) as varchar) as evidence,
        cast(to_json(list_concat(
            [json_object(
                'identifier_type', 'anonymous_id',
                'identifier_value', visitors_mapped.identifier_value,
                'record', visitors_mapped.seen_with[2]
            )],
            from_json(ways_on.link_path, '["JSON"]')
        )) as varchar) as link_path,
        visitors_mapped.policy_version,
        false as is_deleted,
        visitors_mapped.valid_from,
        visitors_mapped.valid_to,
        visitors_mapped.first_received_at as known_from,
        cast(null as timestamptz) as known_to,
        visitors_mapped.first_received_at,
    from visitors_mapped
    inner join ways_on on visitors_mapped.seen_with[1] = ways_on.record_key and ways_on.known_to is null
    {% if with_accounts %}
    union all
    select * from accounts_mapped
    {% endif %}
)

select
    record_key,
    system,
    record_type,
    record_id,
    person_id,
    account_id,
    evidence,
    link_path,
    policy_version,
    is_deleted,
    known_to is null as is_current,
    valid_from,
    valid_to,
    known_from,
    known_to,
    first_received_at,
from mapped
