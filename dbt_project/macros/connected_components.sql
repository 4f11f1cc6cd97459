{# Connected components. `edges` and `nodes` are SQL selects of (a, b) and (node); the result is the table `scratch` with (node, root), root =
   smallest node of the component, whether it was asked for or only stands in an edge. Graphs of up to `components_in_memory` edges (a variable
   of the project) are solved by scipy, several times faster; larger ones in SQL, which needs no more memory than it is given. #}
{% macro solve_components(nodes, edges, scratch) %}
    {% if not execute %}{{ return('') }}{% endif %}
    {% set open_edges = scratch ~ '__edges' %}
    {% set numbers = scratch ~ '__numbers' %}
    {% do run_query('create or replace table ' ~ open_edges ~ ' as select a, b from (' ~ edges ~ ') where a <> b') %}
    {% do run_query(
        'create or replace table ' ~ numbers ~ ' as select node, cast(row_number() over () - 1 as integer) as number '
        ~ 'from (select distinct node from (' ~ nodes ~ '))'
    ) %}
    {% set count = run_query('select count(*) from ' ~ open_edges).columns[0].values()[0] %}
    {% if count == 0 %}
        {% do run_query('create or replace table ' ~ scratch ~ ' as select node, node as root from ' ~ numbers) %}
    {% elif count <= var('components_in_memory') | int %}
        {% do solve_components_in_memory(nodes, open_edges, numbers, count, scratch) %}
    {% else %}
        {% do run_query('create or replace table ' ~ scratch ~ ' as select node, node as root from ' ~ numbers) %}
        {% do run_query(
            'create or replace table ' ~ open_edges ~ ' as select distinct a, b from (select a, b from ' ~ open_edges
            ~ ' union all select b, a from ' ~ open_edges ~ ')'
        ) %}
        {% do contract_components(scratch, open_edges) %}
    {% endif %}
    {% do run_query('drop table if exists ' ~ open_edges) %}
    {% do run_query('drop table if exists ' ~ numbers) %}
{% endmacro %}

{# All edges at once; `numbers` (node, number) are those of the nodes asked for, 0 and up. #}
{% macro solve_components_in_memory(nodes, open_edges, numbers, count, scratch) %}
    {% set linked = scratch ~ '__linked' %}
    {% set link %}
        create or replace table {{ linked }} as
        select
            l.number as a,
            r.number as b,
        from {{ open_edges }} as e
        inner join {{ numbers }} as l on e.a = l.node
        inner join {{ numbers }} as r on e.b = r.node
    {% endset %}
    {% do run_query(link) %}
    {% set has_others = run_query('select count(*) from ' ~ linked).columns[0].values()[0] < count %}
    {% if has_others %}
        {% do run_query(
            'insert into ' ~ numbers ~ ' select node, cast((select count(*) from ' ~ numbers ~ ') + row_number() over () - 1 as integer) '
            ~ 'from (select a as node from ' ~ open_edges ~ ' union select b from ' ~ open_edges ~ ') '
            ~ 'where node not in (select node from ' ~ numbers ~ ')'
        ) %}
        {% do run_query(link) %}
    {% endif %}
    {% do run_query(
        'create or replace table ' ~ scratch ~ ' as with named as (select list(node) as names, list(number) as numbers from ' ~ numbers
        ~ '), ends as (select list(a) as lefts, list(b) as rights from ' ~ linked ~ '), '
        ~ 'solved as (select unnest(names) as node, unnest(component_roots(names, numbers, lefts, rights)) as root '
        ~ 'from named cross join ends) select node, root from solved'
        ~ (' where node in (select node from (' ~ nodes ~ '))' if has_others else '')
    ) %}
    {% do run_query('drop table ' ~ linked) %}
{% endmacro %}

{# By graph contraction: every node hooks to its smallest neighbour, pointers jump until they stand still, the graph is contracted to the
   roots, and the rounds repeat until no edge is left (1-2 rounds on identity graphs; log(n) on chains).
   Source: Kiveris et al., "Connected Components in MapReduce and Beyond", SoCC 2014; measured against scipy in the tests. #}
{% macro contract_components(scratch, open_edges) %}
    {% set hooks = scratch ~ '__hooks' %}
    {% set state = namespace(open=true) %}
    {% for round in range(64) if state.open %}
        {% if run_query('select count(*) from ' ~ open_edges).columns[0].values()[0] == 0 %}
            {% set state.open = false %}
        {% else %}
            {% do run_query(
                'create or replace table ' ~ hooks ~ ' as select a as node, least(a, min(b)) as root from ' ~ open_edges ~ ' group by a'
            ) %}
            {% set jumping = namespace(on=true) %}
            {% for jump in range(64) if jumping.on %}
                {% set moved = run_query(
                    'select count(*) from ' ~ hooks ~ ' h join ' ~ hooks ~ ' p on p.node = h.root where p.root <> h.root'
                ).columns[0].values()[0] %}
                {% if moved == 0 %}
                    {% set jumping.on = false %}
                {% else %}
                    {% do run_query(
                        'create or replace table ' ~ hooks ~ ' as select h.node, coalesce(p.root, h.root) as root from ' ~ hooks
                        ~ ' h left join ' ~ hooks ~ ' p on p.node = h.root'
                    ) %}
                {% endif %}
            {% endfor %}
            {% do run_query(
                'create or replace table ' ~ scratch ~ ' as select s.node, coalesce(h.root, s.root) as root from ' ~ scratch
                ~ ' s left join ' ~ hooks ~ ' h on h.node = s.root'
            ) %}
            {% do run_query(
                'create or replace table ' ~ open_edges ~ ' as select distinct ha.root as a, hb.root as b from ' ~ open_edges ~ ' e join '
                ~ hooks ~ ' ha on ha.node = e.a join ' ~ hooks ~ ' hb on hb.node = e.b where ha.root <> hb.root'
            ) %}
        {% endif %}
    {% endfor %}
    {% do run_query('drop table if exists ' ~ hooks) %}
{% endmacro %}
