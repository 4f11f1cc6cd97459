{# Solves the part of the identity graph a batch can have changed: the records it changed, everybody they were one person with, and
   everybody who carries one of their identifiers. Components outside share no identifier with these, so their solution stands. What was one
   component is taken whole, also where it was taken apart: which of its links hold depends on all of them. #}
{% macro resolve_identity() %}
    {% if not execute %}{{ return('') }}{% endif %}
    {% set former = load_relation(this) %}
    {% set identifiers = ref('int_identity__identifiers') %}
    {% set records = ref('int_identity__records') %}
    {% set changed = ref('int_batch__changed_records') %}
    {% set scope = this.schema ~ '.identity_scope' %}
    {% set scratch = this.schema ~ '.identity_scratch' %}
    {% set is_batch = former and not should_full_refresh() %}
    {% do run_query('create table if not exists ' ~ records_matched() ~ ' (record_key ubigint, since varchar)') %}
    {% if is_batch %}
        {% do run_query(
            'create or replace table ' ~ scope ~ ' as with own as ('
            ~ 'select identifier_key, is_linking from ' ~ identifiers ~ ' where record_key in (select record_key from ' ~ changed ~ ') offset 0), '
            ~ 'gathered as (select record_key from ' ~ changed ~ ' union '
            ~ 'select record_key from ' ~ identifiers ~ ' where identifier_key in (select identifier_key from own where is_linking) union '
            ~ records_matched_by_batch() ~ ') '
            ~ 'select record_key from gathered union '
            ~ 'select record_key from ' ~ former ~ ' where component_key in ('
            ~ 'select component_key from ' ~ former ~ ' where record_key in (select record_key from gathered))'
        ) %}
        {% do grow_scope_by_matches(scope, former) %}
    {% else %}
        {% do run_query('create or replace table ' ~ scope ~ ' as select record_key from ' ~ records) %}
    {% endif %}
    {% do remember_resolved(scope, is_batch) %}
    {% set links %}
        with carried as (
            select
                record_key,
                identifier_key,
                identifier_type,
                is_linking,
                max_records,
            from {{ identifiers }}
            {% if is_batch %}
                -- The fan-in of an identifier is counted over everybody, or a limit would depend on the batch.
                where
                    identifier_key in (
                        select identifier_key from {{ identifiers }}
                        where record_key in (select record_key from {{ scope }})
                    )
                offset 0
            {% endif %}
        )

        select
            record_key as a,
            min(record_key) over (partition by identifier_key) as b,
            identifier_key,
            identifier_type,
        from carried
        where is_linking
        qualify count(*) over (partition by identifier_key) <= max_records
    {% endset %}
    {{ solve_components('select record_key as node from ' ~ scope, links, scratch) }}
    {% set is_divided = divide_components(scope, scratch, links, is_batch) %}
    {% do settle_matches(scope, scratch, is_batch) %}
    {% do keep_components(scratch, is_divided) %}
{% endmacro %}

{# Of which kinds a person has only so many different values, by the active policy. #}
{% macro person_limits() %}
    {% set limits = [] %}
    {% for told in matching_rows('identity_identifiers', 'identifier_type, max_per_person', 'identifier_type') if told['max_per_person'] is not none %}
        {% do limits.append({'kind': told['identifier_type'], 'most': told['max_per_person'] | int}) %}
    {% endfor %}
    {{ return(limits) }}
{% endmacro %}

{# The same as a list of DuckDB's. #}
{% macro person_limits_listed(limits) -%}
    {%- set listed = [] -%}
    {%- for limit in limits -%}
        {%- do listed.append("{'kind': '" ~ limit['kind'] ~ "', 'most': " ~ limit['most'] ~ '}') -%}
    {%- endfor -%}
    [{{ listed | join(', ') }}]
{%- endmacro %}

{# Whether the rows of a group carry more different values of a kind than a person has. #}
{% macro is_crowded(limits, carried) -%}
    {%- set kinds = [] -%}
    {%- for limit in limits -%}
        {%- do kinds.append(
            'count(distinct ' ~ carried ~ '.identifier_key) filter (where ' ~ carried ~ ".identifier_type = '" ~ limit['kind'] ~ "') > "
            ~ limit['most']
        ) -%}
    {%- endfor -%}
    {{ kinds | join(' or ') or 'false' }}
{%- endmacro %}

{# Whether of those who hang together some are different people all the same. #}
{% macro has_divided_people() %}
    {% if has_splits() %}{{ return(true) }}{% endif %}
    {{ return(person_limits() and has_rows(
        'select 1 from ' ~ ref('int_identity__people')
        ~ (' where record_key in (' ~ records_resolved_by_batch() ~ ')' if is_incremental() else '')
        ~ ' group by component_key having min(person_id) <> max(person_id)'
    )) }}
{% endmacro %}

{# Takes apart the components that hold two records a person has split, or more values of a kind than a person has: of these (`scratch`:
   node, root) the root is then the group's, and what it was is kept beside. Gives back whether there were any. #}
{% macro divide_components(scope, scratch, links, is_batch) %}
    {% set limits = person_limits() %}
    {% set apart = scratch ~ '__apart' %}
    {% set crowded = scratch ~ '__crowded' %}
    {% if not has_splits() and not limits %}{{ return(false) }}{% endif %}
    {% do run_query(
        'create or replace table ' ~ apart ~ ' as select a.left_record_key, a.right_record_key, l.root from ('
        ~ records_held_apart('select record_key from ' ~ scope if is_batch else none) ~ ') a inner join ' ~ scratch
        ~ ' l on l.node = a.left_record_key inner join ' ~ scratch ~ ' r on r.node = a.right_record_key where l.root = r.root'
    ) %}
    {# A record has one address and one number, so whoever has many is of many records: most are not looked at. #}
    {% set many = (limits | map(attribute='most') | min) if limits else 0 %}
    {% set large = 'select root from ' ~ scratch ~ ' group by root having count(*) > ' ~ many %}
    {% if limits and has_rows(large) %}
        {% do run_query(
            'create or replace table ' ~ crowded ~ ' as select m.root from (' ~ links ~ ') l inner join ' ~ scratch
            ~ ' m on m.node = l.a where m.root in (' ~ large ~ ') group by m.root having ' ~ is_crowded(limits, 'l')
        ) %}
    {% else %}
        {% do run_query('create or replace table ' ~ crowded ~ ' as select root from ' ~ scratch ~ ' where false') %}
    {% endif %}
    {% set is_divided = has_rows('select root from ' ~ apart ~ ' union all select root from ' ~ crowded) %}
    {% if is_divided %}
        {% do run_query('create or replace table ' ~ scratch ~ '__whole as select node, root from ' ~ scratch) %}
        {% set parts %}
            create or replace table {{ scratch }}__parts as
            with divided as (
                select root from {{ apart }}
                union
                select root from {{ crowded }}
            ),

            members as (
                select
                    s.root,
                    s.node,
                    r.first_received_at,
                from {{ scratch }} as s
                inner join {{ ref('int_identity__records') }} as r on s.node = r.record_key
                where s.root in (select root from divided)
            ),

            links as (
                select
                    m.root,
                    l.a,
                    l.identifier_key,
                    l.identifier_type,
                from ({{ links }}) as l
                inner join members as m on l.a = m.node
            ),

            carried as (
                select
                    l.root,
                    l.identifier_key,
                    min(k.priority) as priority,
                    list(l.a order by l.a) as carriers,
                from links as l
                left join {{ source('raw_policies', 'identity_identifiers') }} as k
                    on k.is_active and l.identifier_type = k.identifier_type
                group by l.root, l.identifier_key
                having count(*) > 1
            ),

            owned as (
                select
                    root,
                    list({'record_key': a, 'kind': identifier_type, 'val': identifier_key}) as owned,
                from links
                where root in (select root from {{ crowded }})
                group by root
            ),

            nodes as (
                select
                    root,
                    list(node order by first_received_at, node) as nodes,
                from members
                group by root
            ),

            sharing as (
                select
                    root,
                    list(carriers order by priority, identifier_key) as carried,
                from carried
                group by root
            ),

            pairs as (
                select
                    root,
                    list(left_record_key order by left_record_key, right_record_key) as lefts,
                    list(right_record_key order by left_record_key, right_record_key) as rights,
                from {{ apart }}
                group by root
            )

            select
                unnest(nodes) as node,
                unnest(join_except_apart(
                    nodes, carried, coalesce(lefts, []), coalesce(rights, []), coalesce(owned, []),
                    case when owned is null then [] else {{ person_limits_listed(limits) }} end
                )) as part,
            from nodes
            inner join sharing using (root)
            left join pairs using (root)
            left join owned using (root)
        {% endset %}
        {% do run_query(parts) %}
        {% do run_query(
            'create or replace table ' ~ scratch ~ ' as select w.node, coalesce(p.part, w.root) as root from ' ~ scratch ~ '__whole w left join '
            ~ scratch ~ '__parts p on p.node = w.node'
        ) %}
        {% do run_query('drop table ' ~ scratch ~ '__parts') %}
    {% endif %}
    {% do run_query('drop table ' ~ apart) %}
    {% do run_query('drop table ' ~ crowded) %}
    {{ return(is_divided) }}
{% endmacro %}

{# Adds to each record the component it is of before anything is taken apart (`scratch`: node, root, component); none where nothing is: then it
   is the person's root. #}
{% macro keep_components(scratch, is_divided) %}
    {% if not is_divided %}
        {% do run_query('alter table ' ~ scratch ~ ' add column component ubigint') %}
        {{ return('') }}
    {% endif %}
    {% set whole = scratch ~ '__whole' %}
    {% set components = scratch ~ '__components' %}
    {{ solve_components(
        'select node from ' ~ scratch,
        'select node as a, root as b from ' ~ scratch ~ ' union all select node as a, root as b from ' ~ whole,
        components
    ) }}
    {% do run_query(
        'create or replace table ' ~ scratch ~ ' as select s.node, s.root, c.root as component from ' ~ scratch ~ ' s inner join '
        ~ components ~ ' c on c.node = s.node'
    ) %}
    {% do run_query('drop table ' ~ whole) %}
    {% do run_query('drop table ' ~ components) %}
{% endmacro %}

{# Whose person may be another one after the batch, kept for the models behind, also for the next attempt when this one dies before they
   have run. #}
{% macro remember_resolved(scope, is_batch) %}
    {% do run_query('create table if not exists ' ~ records_resolved() ~ ' (record_key ubigint, since varchar)') %}
    {% do run_query('delete from ' ~ records_resolved() ~ (" where since <> '" ~ var('since') ~ "'" if is_batch else '')) %}
    {% if is_batch %}
        {% do run_query('insert into ' ~ records_resolved() ~ " select record_key, '" ~ var('since') ~ "' from " ~ scope) %}
    {% endif %}
{% endmacro %}

{% macro records_resolved() -%}
    intermediate.records_resolved
{%- endmacro %}

{% macro records_resolved_by_batch() -%}
    select record_key from {{ records_resolved() }} where since = '{{ var("since") }}'
{%- endmacro %}

{% macro drop_identity_scratch() %}
    {% if execute %}
        {% do run_query('drop table if exists ' ~ this.schema ~ '.identity_scope') %}
        {% do run_query('drop table if exists ' ~ this.schema ~ '.identity_scratch') %}
    {% endif %}
{% endmacro %}

{# Incremental strategy of per-record tables: the changed records' rows go, also where nothing comes back for them. #}
{% macro get_incremental_replace_changed_records_sql(arg_dict) %}
    {%- set columns = arg_dict['dest_columns'] | map(attribute='quoted') | join(', ') -%}
    delete from {{ arg_dict['target_relation'] }}
    where record_key in (
        select record_key from {{ ref('int_batch__changed_records') }} where is_changed
    );
    insert into {{ arg_dict['target_relation'] }} ({{ columns }})
    select {{ columns }} from {{ arg_dict['temp_relation'] }}
{% endmacro %}
