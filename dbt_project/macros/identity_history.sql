{# Gathers for int_identity__history whose belonging a batch can have changed (`scope`), what links them at which times (`carried`), and who
   ever hung together with whom (`components`: node, root). Whoever shared something with a record of the batch is of its component, since
   it was so before or through a record of the batch, so a component is always replayed whole. #}
{% macro gather_identity_history() %}
    {% if not execute %}{{ return('') }}{% endif %}
    {% set former = load_relation(this) %}
    {% set is_batch = former and not should_full_refresh() %}
    {% set identifiers = ref('int_identity__identifiers') %}
    {% set changes = ref('int_identity__identifier_changes') %}
    {% set scope = history_scratch('scope') %}
    {% set carried = history_scratch('carried') %}
    {% if is_batch %}
        {% do run_query(
            'create or replace table ' ~ scope ~ ' as with gathered as (' ~ records_resolved_by_batch() ~ ' union '
            ~ 'select record_key from ' ~ identifiers ~ ' where identifier_key in (select identifier_key from ' ~ changes
            ~ ' where record_key in (select record_key from ' ~ ref('int_batch__changed_records') ~ ') offset 0)) '
            ~ 'select record_key from gathered union select record_key from ' ~ former ~ ' where component_key in ('
            ~ 'select component_key from ' ~ former ~ ' where record_key in (select record_key from gathered))'
        ) %}
    {% else %}
        {% do run_query('create or replace table ' ~ scope ~ ' as select record_key from ' ~ ref('int_identity__records')) %}
    {% endif %}
    {% set limited_kinds = "'" ~ (person_limits() | map(attribute='kind') | list or ['none']) | join("', '") ~ "'" %}
    {% set links %}
        with keys as (
            select identifier_key from {{ identifiers }}
            where is_linking {% if is_batch %}and record_key in (select record_key from {{ scope }}){% endif %}
            union all
            select identifier_key from {{ changes }}
            {% if is_batch %}where record_key in (select record_key from {{ scope }}){% endif %}
        ),

        stated as (
            select * from {{ identifiers }}
            {% if is_batch %}where identifier_key in (select keys.identifier_key from keys){% endif %}
            {{ looked_up() }}
        ),

        changed as (
            select * from {{ changes }}
            {% if is_batch %}where identifier_key in (select keys.identifier_key from keys){% endif %}
            {{ looked_up() }}
        ),

        shared as (
            select identifier_key
            from (
                select
                    identifier_key,
                    record_key,
                from stated
                where is_linking
                union all
                select
                    identifier_key,
                    record_key,
                from changed
            )
            group by identifier_key
            having min(record_key) < max(record_key)
        ),

        renamed as (
            select record_key from {{ changes }}
            {% if is_batch %}where record_key in (select stated.record_key from stated){% endif %}
        ),

        records as (
            select * from {{ ref('int_identity__records') }}
            {% if is_batch %}where record_key in (select stated.record_key from stated){% endif %}
            {{ looked_up() }}
        ),

        contacts as (
            select * from {{ ref('int_contacts__current') }}
            {% if is_batch %}where record_key in (select stated.record_key from stated){% endif %}
            {{ looked_up() }}
        )

        select
            stated.record_key,
            stated.identifier_key,
            stated.identifier_type,
            stated.identifier_value,
            stated.max_records,
            -- A record has its own id, and what it is named by, since it is known; the rest since it says so.
            case
                when
                    records.record_type = 'email'
                    or stated.identifier_value = records.system || ':' || records.record_id
                    then records.first_received_at
                else greatest(coalesce(contacts.known_from, records.first_received_at), records.first_received_at)
            end as known_from,
            cast(null as timestamptz) as known_to,
        from stated
        inner join records on stated.record_key = records.record_key
        left join contacts on stated.record_key = contacts.record_key
        where
            stated.is_linking
            and (
                stated.identifier_key in (select shared.identifier_key from shared)
                -- How many a person has counts those too that nobody else has.
                or stated.identifier_type in ({{ limited_kinds }})
            )
            and stated.record_key not in (select renamed.record_key from renamed)
        union all
        select
            record_key,
            identifier_key,
            identifier_type,
            identifier_value,
            max_records,
            known_from,
            known_to,
        from changed
        where
            identifier_key in (select shared.identifier_key from shared)
            or identifier_type in ({{ limited_kinds }})
    {% endset %}
    {% do run_query('create or replace table ' ~ carried ~ ' as ' ~ links) %}
    {% do leave_out_crowded_times(carried) %}
    {% do run_query('delete from ' ~ carried ~ ' where record_key not in (select record_key from ' ~ scope ~ ')') %}
    {{ solve_components(
        'select record_key as node from ' ~ scope,
        'select record_key as a, min(record_key) over (partition by identifier_key) as b from ' ~ carried
        ~ (' union all select left_record_key as a, right_record_key as b from ' ~ ref('int_identity__links')
        ~ ' where is_accepted and left_record_key in (select record_key from ' ~ scope ~ ')' if matching_settings() else ''),
        history_scratch('components')
    ) }}
{% endmacro %}

{# An identifier that more records carry than its limit allows links nobody for as long as they do: of such ones only the other times stay. #}
{% macro leave_out_crowded_times(carried) %}
    {% set crowded = 'select identifier_key from ' ~ carried ~ ' group by identifier_key having count(distinct record_key) > any_value(max_records)' %}
    {% if not has_rows(crowded) %}{{ return('') }}{% endif %}
    {% set cut %}
        with crowded as ({{ crowded }}),

        ticks as (
            select
                identifier_key,
                max_records,
                unnest([known_from, known_to]) as tick_at,
                unnest([1, -1]) as step,
            from {{ carried }}
            where identifier_key in (select crowded.identifier_key from crowded)
        ),

        counted as (
            select
                identifier_key,
                tick_at,
                sum(sum(step)) over (
                    partition by identifier_key
                    order by tick_at
                ) <= any_value(max_records) as is_open,
            from ticks
            where tick_at is not null
            group by identifier_key, tick_at
        ),

        turns as (
            select * from counted
            qualify is_open is distinct from lag(is_open) over (
                partition by identifier_key
                order by tick_at
            )
        ),

        times as (
            select
                *,
                lead(tick_at, 1, 'infinity') over (
                    partition by identifier_key
                    order by tick_at
                ) as until_at,
            from turns
        )

        select * from {{ carried }}
        where identifier_key not in (select crowded.identifier_key from crowded)
        union all
        select
            carried.* replace (
                greatest(carried.known_from, times.tick_at) as known_from,
                nullif(least(coalesce(carried.known_to, 'infinity'), times.until_at), 'infinity') as known_to
            ),
        from {{ carried }} as carried
        inner join times on carried.identifier_key = times.identifier_key
        where
            times.is_open
            and carried.known_from < times.until_at
            and coalesce(carried.known_to, 'infinity') > times.tick_at
    {% endset %}
    {% do run_query('create or replace table ' ~ carried ~ '__cut as ' ~ cut) %}
    {% do run_query('drop table ' ~ carried) %}
    {% do run_query('alter table ' ~ carried ~ '__cut rename to ' ~ carried.split('.')[1]) %}
{% endmacro %}

{% macro history_scratch(name) -%}
    intermediate.identity_history__{{ name }}
{%- endmacro %}

{% macro drop_identity_history_scratch() %}
    {% if execute %}
        {% for name in ['scope', 'carried', 'components'] %}
            {% do run_query('drop table if exists ' ~ history_scratch(name)) %}
        {% endfor %}
    {% endif %}
{% endmacro %}
