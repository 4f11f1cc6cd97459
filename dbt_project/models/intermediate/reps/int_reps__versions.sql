-- What each rep was, from when on: every directory's word of them that was known then. A rep of whom we heard within a day of the first of
-- all was there before: that is when the directory was connected, and not when they joined.
{% set stated_columns = [
    'email', 'name', 'time_zone', 'territories', 'product_lines', 'capacity', 'weight', 'working_hours', 'working_days', 'is_active',
] %}
{% set compared_columns = stated_columns + ['source_records'] %}

with stated as (
    {{ union_by_name([
        ref('stg_events__reps'),
        ref('stg_hubspot__owners'),
        ref('stg_salesforce__users'),
        ref('stg_calendly__reps'),
        ref('stg_calcom__reps'),
    ]) }}
),

ordered as (
    select
        *,
        {{ known_since() }} as known_at,
        row_number() over (
            partition by system, record_id
            order by occurred_at, received_at, coalesce(seq, 0)
        ) as place,
    from stated
    where occurred_at <= {{ as_of() }}
),

-- An event says what changed; a polled record is all there is of it.
filled as (
    select
        system,
        record_id,
        known_at,
        place,
        {% for column in stated_columns %}
        case
            when system in ('hubspot', 'salesforce', 'calendly', 'calcom') and seq is null then {{ column }}
            else last_value({{ column }} ignore nulls) over so_far
        end as {{ column }},
        {% endfor %}
    from ordered
    window so_far as (
        partition by system, record_id
        order by place
        rows between unbounded preceding and current row
    )
),

-- A booking tool tells of its hosts with every booking: what says nothing else than the one before is no version.
differing as (
    select *
    from filled
    qualify
        row_number() over (
            partition by system, record_id
            order by place
        ) = 1
        {% for column in stated_columns %}
        or {{ column }} is distinct from lag({{ column }})
            over (
                partition by system, record_id
                order by place
            )
        {% endfor %}
),

-- One address is one rep, whatever systems list them.
keyed as (
    select
        *,
        coalesce(
            nullif(lower(trim(last_value(email) over (
                partition by system, record_id
                order by place
                rows between unbounded preceding and unbounded following
            ))), ''),
            system || ':' || record_id
        ) as rep_key,
    from differing
),

connected as (
    select * from {{ ref('int_reps__connected') }}
),

instants as (
    select distinct
        keyed.rep_key,
        case when keyed.known_at > connected.connected_until then keyed.known_at end as valid_from,
        coalesce(greatest(keyed.known_at, connected.connected_until), keyed.known_at) as known_at,
    from keyed
    cross join connected
),

known as (
    select
        instants.rep_key,
        instants.valid_from,
        keyed.* exclude (rep_key, known_at, place),
    from instants
    inner join keyed on instants.rep_key = keyed.rep_key and instants.known_at >= keyed.known_at
    qualify row_number() over (
        partition by instants.rep_key, instants.known_at, keyed.system, keyed.record_id
        order by keyed.place desc
    ) = 1
),

told as (
    select
        {{ guid(["'rep'", 'rep_key']) }} as rep_id,
        rep_key,
        max(lower(trim(email))) as email,
        coalesce(max(nullif(trim(name), '')), min(record_id)) as name,
        min(time_zone) as time_zone,
        min(working_hours) as working_hours,
        min(working_days) as working_days,
        coalesce(min(cast(territories as varchar)), '[]') as territories,
        coalesce(min(cast(product_lines as varchar)), '[]') as product_lines,
        cast(to_json(list(system || ':' || record_id order by system, record_id)) as varchar) as source_records,
        min(record_id) filter (where system = 'salesforce') as salesforce_user_id,
        min(record_id) filter (where system = 'hubspot') as hubspot_owner_id,
        max(capacity) as capacity,
        coalesce(max(weight), 1.0) as weight,
        coalesce(bool_and(is_active), true) as is_active,
        valid_from,
    from known
    group by rep_key, valid_from
),

-- A version that says what the one before it said is none.
changed as (
    select *
    from told
    qualify
        row_number() over (
            partition by rep_key
            order by valid_from nulls first
        ) = 1
        {% for column in compared_columns %}
        or {{ column }} is distinct from lag({{ column }})
            over (
                partition by rep_key
                order by valid_from nulls first
            )
        {% endfor %}
)

select
    * exclude (rep_key), -- noqa: AM04
    row_number() over (
        partition by rep_key
        order by valid_from desc nulls last
    ) = 1 as is_current,
from changed
