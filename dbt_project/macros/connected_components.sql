{# Connected components by graph contraction: every node hooks to its smallest neighbour, pointers jump until they stand still, the graph is
   contracted to the roots, and the rounds repeat until no edge is left (1-2 rounds on identity graphs; log(n) on chains).
   `edges` and `nodes` are SQL selects of (a, b) and (node); the result is the table `scratch` with (node, root), root = smallest node.
   Source: Kiveris et al., "Connected Components in MapReduce and Beyond", SoCC 2014; measured against scipy in the tests. #}
{% macro solve_components(nodes, edges, scratch) %}
    {% if not execute %}{{ return('') }}{% endif %}
    {% set open_edges = scratch ~ '__edges' %}
    {% set hooks = scratch ~ '__hooks' %}
    {% do run_query('create or replace table ' ~ scratch ~ ' as select distinct node, node as root from (' ~ nodes ~ ')') %}
    {% do run_query(
        'create or replace table ' ~ open_edges ~ ' as select distinct a, b from (select a, b from (' ~ edges ~ ') union all select b, a from ('
        ~ edges ~ ')) where a <> b'
    ) %}
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
    {% do run_query('drop table if exists ' ~ open_edges) %}
    {% do run_query('drop table if exists ' ~ hooks) %}
{% endmacro %}
