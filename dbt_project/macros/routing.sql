{# Leads to be dealt, each with the pool it belongs to: the territory of its country, or the default one. Of the people
   the batch touched, or of everybody; of everybody the turns of those who were erased are among them (`is_erased`). #}
{% macro leads_placed(of_touched) %}
    {%- set trial = trial_of('routing') %}
    with mqls as (
        select * from {{ ref('fct_mqls') }}
        where {{ where_touched() if of_touched else 'true' }}
    ),

    people as (
        select
            person_id,
            {{ 'email' if trial else 'cast(null as varchar)' }} as email,
            country,
        from {{ ref('dim_people') }}
        where {{ where_touched() if of_touched else 'true' }}
    ),

    leads as (
        select
            mqls.mql_id,
            mqls.person_id,
            mqls.account_id,
            mqls.crossing_number,
            mqls.grade,
            people.email,
            people.country,
            false as is_erased,
            mqls.reached_at,
            mqls.known_at,
        from mqls
        inner join people on mqls.person_id = people.person_id
        {% if not of_touched %}
            union all
            select
                cast(null as varchar) as mql_id,
                lead_id as person_id,
                cast(null as varchar) as account_id,
                cast(null as bigint) as crossing_number,
                cast(null as varchar) as grade,
                cast(null as varchar) as email,
                country,
                true as is_erased,
                reached_at,
                known_at,
            from {{ ref('stg_events__erased_turns') }}
        {% endif %}
    ),

    versions as (
        select * from {{ source('raw_policies', 'routing_versions') }}
        where is_active
    ),

    slas as (
        select * from {{ source('raw_policies', 'routing_slas') }}
        where is_active
    ),

    -- Of several territories that name a country, or none, the first by priority.
    territories as (
        select
            version,
            country,
            arg_min(territory, row(priority, territory)) as territory,
        from {{ source('raw_policies', 'routing_territories') }}
        where is_active
        group by version, country
    )

    select
        {{ guid(["'assignment'", 'leads.mql_id', 'versions.version']) }} as assignment_id,
        leads.mql_id,
        leads.person_id,
        leads.account_id,
        leads.crossing_number,
        leads.is_erased,
        leads.reached_at,
        leads.known_at,
        versions.version as routing_version,
        versions.fallback_rep_email,
        coalesce(own.territory, others.territory) as territory,
        coalesce(slas.sla_minutes, versions.sla_minutes) as sla_minutes,
        case
            when own.territory is null
                then
                    'country ' || coalesce(leads.country, 'unknown') || ' is in no territory: default territory '
                    || coalesce(others.territory, 'none')
            else 'country ' || leads.country || ' belongs to territory ' || own.territory
        end as placement,
    from leads
    {% if trial %}
    -- Each version deals its own turns, to the people it decides for.
    inner join versions on versions.version = {{ version_for('routing', trial, 'leads.person_id', 'leads.email') }}
    {% else %}
    cross join versions
    {% endif %}
    left join territories as own on versions.version = own.version and upper(leads.country) = own.country
    left join territories as others on versions.version = others.version and others.country is null
    left join slas on versions.version = slas.version and leads.grade = slas.grade
{% endmacro %}

{# Who sits in which pool, in the order in which the equally entitled come: the seed settles it. #}
{% macro seats() %}
    with versions as (
        select * from {{ source('raw_policies', 'routing_versions') }}
        where is_active
    ),

    weights as (
        select * from {{ source('raw_policies', 'routing_weights') }}
        where is_active
    ),

    reps as (
        select * from {{ ref('dim_reps') }}
        where is_active
    ),

    members as (
        select
            reps.rep_id,
            reps.name as rep_name,
            versions.version as routing_version,
            versions.seed,
            pool.territory,
            coalesce(weights.weight, reps.weight) as weight,
        from reps
        cross join versions
        cross join unnest(from_json(reps.territories, '["VARCHAR"]')) as pool (territory)
        left join weights
            on
                versions.version = weights.version
                and reps.email = lower(weights.rep_email)
                and (weights.territory is null or pool.territory = weights.territory)
        -- A weight for the territory outranks one for all of them; without a share, a rep is not in the pool.
        qualify
            row_number() over (
                partition by reps.rep_id, versions.version, pool.territory
                order by (weights.territory is null)
            ) = 1
            and coalesce(weights.weight, reps.weight) > 0
    )

    select
        *,
        row_number() over (
            partition by routing_version, territory
            order by md5(seed || territory || rep_id), rep_id
        ) as seat,
    from members
{% endmacro %}

{# How far each pool has been dealt: how many leads each rep has had and when the newest of them became known. Kept beside fct_assignments and
   written in its transaction, so that a batch goes on from there and need not look at every lead there ever was. #}
{% macro pools_dealt() -%}
    intermediate.pools_dealt
{%- endmacro %}

{# What has been dealt before the leads of this run: nothing when all are dealt. #}
{% macro leads_had(continues) %}
    {% if continues %}
        select
            routing_version,
            territory,
            rep_id,
            lead_count,
        from {{ pools_dealt() }}
    {% else %}
        select
            cast(null as varchar) as routing_version,
            cast(null as varchar) as territory,
            cast(null as varchar) as rep_id,
            cast(null as bigint) as lead_count,
        where false
    {% endif %}
{% endmacro %}

{# Every lead to be dealt with the turn it takes of its pool, and whose turn that is: those the batch adds to `assignments`, or all there are. #}
{% macro leads_dealt(assignments, continues) %}
    with leads_placed as (
        {{ leads_placed(of_touched=continues) }}
    ),

    leads as (
        select * from leads_placed
        {% if continues %}
            where assignment_id not in (select assignment_id from {{ assignments }} where {{ where_touched() }})
        {% endif %}
    ),

    seats as (
        {{ seats() }}
    ),

    reps as (
        select
            rep_id,
            name as rep_name,
            email,
        from {{ ref('dim_reps') }}
        where is_active
    ),

    leads_had as (
        {{ leads_had(continues) }}
    ),

    pools_had as (
        select
            routing_version,
            territory,
            cast(sum(lead_count) as bigint) as lead_count,
        from leads_had
        group by routing_version, territory
    ),

    ranked_leads as (
        select
            leads.*,
            coalesce(pools_had.lead_count, 0) + row_number() over (
                partition by leads.routing_version, leads.territory
                order by leads.known_at, leads.person_id, leads.reached_at
            ) as turn,
        from leads
        left join pools_had on leads.routing_version = pools_had.routing_version and leads.territory = pools_had.territory
    ),

    pools as (
        select
            routing_version,
            territory,
            count(*) as lead_count,
            min(turn) as first_turn,
        from ranked_leads
        group by routing_version, territory
    ),

    dealt as (
        select
            seats.routing_version,
            seats.territory,
            sum(seats.weight) as total_weight,
            count(*) as member_count,
            any_value(pools.first_turn) as first_turn,
            fair_turns(
                list(cast(seats.weight as double) order by seats.seat),
                any_value(pools.lead_count),
                list(coalesce(leads_had.lead_count, 0) order by seats.seat)
            ) as taken_seats,
        from seats
        inner join pools
            on seats.routing_version = pools.routing_version and seats.territory = pools.territory
        left join leads_had
            on
                seats.routing_version = leads_had.routing_version
                and seats.territory = leads_had.territory
                and seats.rep_id = leads_had.rep_id
        group by seats.routing_version, seats.territory
    ),

    taken as (
        select
            routing_version,
            territory,
            total_weight,
            member_count,
            unnest(taken_seats) as seat,
            first_turn - 1 + generate_subscripts(taken_seats, 1) as turn,
        from dealt
    ),

    turns as (
        select
            seats.rep_id,
            seats.rep_name,
            seats.routing_version,
            seats.territory,
            seats.weight,
            taken.total_weight,
            taken.member_count,
            taken.turn,
        from taken
        inner join seats
            on
                taken.routing_version = seats.routing_version
                and taken.territory = seats.territory
                and taken.seat = seats.seat
    )

    select
        leads.*,
        coalesce(turns.rep_id, fallbacks.rep_id) as rep_id,
        turns.rep_id as turn_rep_id,
        turns.rep_name,
        turns.member_count,
        turns.weight,
        turns.total_weight,
        fallbacks.rep_name as fallback_rep_name,
    from ranked_leads as leads
    left join turns
        on
            leads.routing_version = turns.routing_version
            and leads.territory = turns.territory
            and leads.turn = turns.turn
    left join reps as fallbacks on lower(leads.fallback_rep_email) = fallbacks.email
{% endmacro %}

{# What the reps were when the pools were dealt. Another set of them, another weight or name, and all of it would be dealt differently. #}
{% macro reps_dealt_to() %}
    select coalesce(string_agg(described, chr(10) order by described), '')
    from (
        select concat_ws(':', routing_version, territory, seat, rep_id, weight, rep_name) as described
        from ({{ seats() }}) as seated
        union all
        select concat_ws(':', rep_id, email, name) as described
        from {{ ref('dim_reps') }}
        where is_active
    )
{% endmacro %}

{% macro note_pools_dealt(assignments, is_added) %}
    create or replace table {{ pools_dealt() }} as
    select
        routing_version,
        territory,
        rep_id,
        cast(sum(lead_count) as bigint) as lead_count,
        max(last_known_at) as last_known_at,
        ({{ reps_dealt_to() }}) as reps,
    from (
        select
            routing_version,
            territory,
            rep_id,
            count(*) as lead_count,
            max(assigned_at) as last_known_at,
        from {{ assignments }}
        group by all
        {% if is_added %}
            union all
            select * exclude (reps) from {{ pools_dealt() }}
        {% elif has_rows('select 1 from ' ~ ref('stg_events__erased_turns')) %}
            union all
            select
                routing_version,
                territory,
                rep_id,
                count(*) as lead_count,
                max(known_at) as last_known_at,
            from ({{ leads_dealt(none, false) }}) as dealt
            where is_erased
            group by all
        {% endif %}
    )
    group by routing_version, territory, rep_id
{% endmacro %}

{# Whether the batch only adds leads behind those dealt already. A lead that became known before the last one of its pool, one that moved or
   went, or other reps, and the whole is dealt anew: the same as a rebuild would give, at a rebuild's price. #}
{% macro continues_the_deal() %}
    {% if not execute or not is_incremental() %}{{ return(false) }}{% endif %}
    {% set found = run_query("select count(*) from duckdb_tables() where schema_name || '.' || table_name = '" ~ pools_dealt() ~ "'") %}
    {% if found.columns[0].values()[0] == 0 %}{{ return(false) }}{% endif %}
    {% set disturbed %}
        with fresh as materialized (
            {{ leads_placed(of_touched=true) }}
        ),

        kept as materialized (
            select * from {{ this }}
            where {{ where_touched() }}
        ),

        pools as (
            select
                routing_version,
                territory,
                max(last_known_at) as last_known_at,
            from {{ pools_dealt() }}
            group by routing_version, territory
        )

        select 1 as disturbed
        from kept
        left join fresh on kept.assignment_id = fresh.assignment_id
        where
            fresh.assignment_id is null
            or fresh.territory is distinct from kept.territory
            or fresh.account_id is distinct from kept.account_id
            or fresh.sla_minutes is distinct from kept.sla_minutes
            or fresh.known_at is distinct from kept.assigned_at
            or fresh.placement is distinct from json_extract_string(kept.reason_path, '$[0]')
        union all
        select 1 as disturbed
        from fresh
        inner join pools
            on fresh.routing_version = pools.routing_version and fresh.territory is not distinct from pools.territory
        where
            fresh.known_at <= pools.last_known_at
            and fresh.assignment_id not in (select kept.assignment_id from kept)
        union all
        select 1 as disturbed from {{ pools_dealt() }}
        where reps <> ({{ reps_dealt_to() }})
    {% endset %}
    {{ return(not has_rows(disturbed)) }}
{% endmacro %}
