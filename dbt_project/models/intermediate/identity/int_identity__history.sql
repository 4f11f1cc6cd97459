{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='record_key',
    indexes=[{'columns': ['record_key']}, {'columns': ['component_key']}],
    pre_hook="{{ gather_identity_history() }}",
    post_hook="{{ drop_identity_history_scratch() }}",
) }}

-- depends_on: {{ ref('int_batch__changed_records') }}
-- depends_on: {{ ref('int_contacts__current') }}
-- depends_on: {{ ref('int_identity__identifiers') }}
-- depends_on: {{ ref('int_identity__identifier_changes') }}
-- depends_on: {{ ref('int_identity__merges_unioned') }}
-- depends_on: {{ ref('int_identity__people') }}
-- depends_on: {{ ref('int_contacts__versions') }}
-- depends_on: {{ ref('int_identity__links') }}
-- depends_on: {{ source('raw_policies', 'identity_matching') }}
-- depends_on: {{ source('raw_policies', 'identity_matching_columns') }}
-- Who hung together with whom, and when, is gathered before.
{% set scope = 'select record_key from ' ~ history_scratch('scope') %}
{% set records_in_scope = scope if is_incremental() else none %}
{% set with_matches = matching_settings() %}
{% set limits = person_limits() %}

with components as (
    select * from {{ history_scratch('components') }}
),

carried as (
    select
        of_time.*,
        row(kinds.priority, of_time.identifier_key) as strength,
        json_object('identifier_type', of_time.identifier_type, 'identifier_value', of_time.identifier_value) as step,
    from {{ history_scratch('carried') }} as of_time
    left join {{ source('raw_policies', 'identity_identifiers') }} as kinds
        on kinds.is_active and of_time.identifier_type = kinds.identifier_type
),

members as (
    select
        components.root as component_key,
        records.record_key,
        records.system,
        records.record_type,
        records.record_id,
        records.system || ':' || records.record_id as named,
        records.first_received_at,
        first_value(records.record_key) over of_component as root,
    from components
    inner join {{ ref('int_identity__records') }} as records on components.node = records.record_key
    window of_component as (
        partition by components.root
        order by records.first_received_at, records.record_key
    )
),

apart as (
    select
        words.left_record_key,
        words.right_record_key,
        words.known_from,
        words.known_to,
        members.component_key,
    from ({{ directives_over_time(records_in_scope) }}) as words
    inner join members on words.left_record_key = members.record_key
    inner join members as others on words.right_record_key = others.record_key and members.component_key = others.component_key
    where words.is_apart
),

-- Most people are simple: each record but the first came with something the first one has, and nothing has ever changed of that.
together as (
    select
        members.record_key,
        members.component_key,
        arg_min(carried.step, carried.strength) as step,
    from members
    inner join carried on members.record_key = carried.record_key
    inner join carried as firsts on members.root = firsts.record_key and carried.identifier_key = firsts.identifier_key
    where
        members.record_key <> members.root
        and carried.known_to is null
        and firsts.known_to is null
        and carried.known_from <= members.first_received_at
        and firsts.known_from <= members.first_received_at
    group by members.record_key, members.component_key
),

-- Of whom there are more values than a person has.
crowded as (
    select members.component_key
    from carried
    inner join members on carried.record_key = members.record_key
    group by members.component_key
    having {{ is_crowded(limits, 'carried') }}
),

owned as (
    select
        members.component_key,
        list({
            'record_key': carried.record_key, 'kind': carried.identifier_type, 'val': carried.identifier_key,
            'known_from': epoch_us(carried.known_from), 'known_to': epoch_us(carried.known_to)
        }) as owned,
    from carried
    inner join members on carried.record_key = members.record_key
    where members.component_key in (select crowded.component_key from crowded)
    group by members.component_key
),

unsettled as (
    select component_key from apart
    union
    select component_key from crowded
    union
    select members.component_key
    from carried
    inner join members on carried.record_key = members.record_key
    where carried.known_to is not null
    union
    select members.component_key
    from members
    left join together on members.record_key = together.record_key
    where members.record_key <> members.root and together.record_key is null
),

simple as (
    select
        members.record_key,
        members.root,
        members.first_received_at as known_from,
        cast(null as timestamptz) as known_to,
        case
            when members.record_key = members.root then '[]'
            else cast(json_array(json_merge_patch(together.step, json_object('record', firsts.named))) as varchar)
        end as link_path,
    from members
    left join together on members.record_key = together.record_key
    left join members as firsts on members.root = firsts.record_key
    where members.component_key not in (select unsettled.component_key from unsettled)
),

listed as (
    select
        component_key,
        list(
            {
                'record_key': record_key, 'named': named, 'born': epoch_us(first_received_at)
            }
            order by first_received_at, record_key
        ) as records,
    from members
    where component_key in (select unsettled.component_key from unsettled)
    group by component_key
),

things as (
    select
        members.component_key,
        carried.strength,
        cast(any_value(carried.step) as varchar) as step,
        list({
            'record_key': carried.record_key, 'known_from': epoch_us(carried.known_from), 'known_to': epoch_us(carried.known_to)
        }) as periods,
    from carried
    inner join members on carried.record_key = members.record_key
    where members.component_key in (select unsettled.component_key from unsettled)
    group by members.component_key, carried.strength
    having count(distinct carried.record_key) > 1
),

{% if with_matches %}
links as (
    select
        left_record_key,
        right_record_key,
        match_weight,
        match_probability,
        parameters_version,
    from {{ ref('int_identity__links') }}
    where is_accepted and left_record_key in ({{ scope }})
),

-- A match is known since what it was found by is what it is.
said as (
    select
        record_key,
        known_from,
        row({{ matching_columns() | map(attribute='expression') | join(', ') }}) as features,
    from ({{ contact_states(compared_columns(), 'select unnest([links.left_record_key, links.right_record_key]) from links') }}) as states
),

said_anew as (
    select * from said
    qualify features is distinct from lag(features) over (
        partition by record_key
        order by known_from
    )
),

said_since as (
    select
        record_key,
        max(known_from) as known_from,
    from said_anew
    group by record_key
),

matches as (
    select
        members.component_key,
        row(links.left_record_key, links.right_record_key) as strength,
        cast(json_object(
            'identifier_type', 'match',
            'match_weight', round(links.match_weight, 4),
            'match_probability', round(links.match_probability, 6),
            'parameters_version', links.parameters_version
        ) as varchar) as step,
        [
            {'record_key': links.left_record_key, 'known_from': epoch_us(since_at), 'known_to': cast(null as bigint)},
            {'record_key': links.right_record_key, 'known_from': epoch_us(since_at), 'known_to': cast(null as bigint)}
        ] as periods,
    from (
        select
            links.*,
            greatest(left_side.known_from, right_side.known_from) as since_at,
        from links
        inner join said_since as left_side on links.left_record_key = left_side.record_key
        inner join said_since as right_side on links.right_record_key = right_side.record_key
    ) as links
    inner join members on links.left_record_key = members.record_key
    where members.component_key in (select unsettled.component_key from unsettled)
),
{% endif %}

ways as (
    select
        component_key,
        list(
            {
                'step': step, 'is_match': is_match, 'periods': periods
            }
            order by is_match, strength
        ) as things,
    from (
        select
            component_key,
            false as is_match,
            row(cast(coalesce(strength[1], 99) as ubigint), strength[2]) as strength,
            step,
            periods,
        from things
        {% if with_matches %}
            union all
            select
                component_key,
                true as is_match,
                strength,
                step,
                periods,
            from matches
        {% endif %}
    ) as told
    group by component_key
),

words as (
    select
        component_key,
        list(
            {
                'left_record_key': left_record_key, 'right_record_key': right_record_key,
                'known_from': epoch_us(known_from), 'known_to': epoch_us(known_to)
            }
            order by left_record_key, right_record_key, known_from
        ) as pairs,
    from apart
    group by component_key
),

replayed as (
    select
        unnest(replay_people(
            listed.records, coalesce(ways.things, []), coalesce(words.pairs, []), coalesce(owned.owned, []),
            {{ 'case when owned.owned is null then [] else ' ~ person_limits_listed(limits) ~ ' end' if limits else '[]' }}
        )) as told,
    from listed
    left join owned on listed.component_key = owned.component_key
    left join ways on listed.component_key = ways.component_key
    left join words on listed.component_key = words.component_key
),

belongings as (
    select
        record_key,
        root,
        known_from,
        known_to,
        link_path,
    from simple
    union all
    select
        told.record_key,
        told.root,
        make_timestamptz(told.known_from) as known_from,
        make_timestamptz(told.known_to) as known_to,
        told.link_path,
    from replayed
),

{{ lives_over_time('members', records_in_scope) }}

select
    belongings.record_key,
    {{ guid(['firsts.system', 'firsts.record_type', 'firsts.record_id']) }} as person_id,
    members.component_key,
    belongings.link_path,
    lives.valid_from,
    lives.valid_to,
    greatest(belongings.known_from, lives.known_from) as known_from,
    nullif(
        least(coalesce(belongings.known_to, 'infinity'), coalesce(lives.known_to, 'infinity')), 'infinity'
    ) as known_to,
from belongings
inner join members on belongings.record_key = members.record_key
inner join members as firsts on belongings.root = firsts.record_key
inner join lives on belongings.record_key = lives.record_key
where
    lives.known_from < coalesce(belongings.known_to, 'infinity')
    and belongings.known_from < coalesce(lives.known_to, 'infinity')
