{# Solves the part of the identity graph a batch can have changed: the records it changed, everybody they were one person with, and
   everybody who carries one of their identifiers. Components outside share no identifier with these, so their solution stands. What was one
   component is taken whole, also where a person has split it: which of its links hold depends on all of them. #}
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
    {% set is_split = split_components(scope, scratch, links, is_batch) %}
    {% do settle_matches(scope, scratch, is_batch) %}
    {% do keep_components(scratch, is_split) %}
{% endmacro %}

{# Takes apart the components that hold two records a person has split: of these (`scratch`: node, root) the root is then the group's, and
   what it was is kept beside. Gives back whether there were any. #}
{% macro split_components(scope, scratch, links, is_batch) %}
    {% if not has_splits() %}{{ return(false) }}{% endif %}
    {% set apart = scratch ~ '__apart' %}
    {% do run_query(
        'create or replace table ' ~ apart ~ ' as select a.left_record_key, a.right_record_key, l.root from ('
        ~ records_held_apart('select record_key from ' ~ scope if is_batch else none) ~ ') a inner join ' ~ scratch
        ~ ' l on l.node = a.left_record_key inner join ' ~ scratch ~ ' r on r.node = a.right_record_key where l.root = r.root'
    ) %}
    {% if not has_rows('select 1 from ' ~ apart) %}
        {% do run_query('drop table ' ~ apart) %}
        {{ return(false) }}
    {% endif %}
    {% do run_query('create or replace table ' ~ scratch ~ '__whole as select node, root from ' ~ scratch) %}
    {% do run_query(
        'create or replace table ' ~ scratch ~ '__parts as with members as (select s.root, s.node, r.first_received_at from ' ~ scratch
        ~ ' s inner join ' ~ ref('int_identity__records') ~ ' r on r.record_key = s.node where s.root in (select root from ' ~ apart ~ ')), '
        ~ 'carried as (select m.root, l.identifier_key, min(k.priority) as priority, list(l.a order by l.a) as carriers from ('
        ~ links ~ ') l inner join members m on m.node = l.a left join ' ~ source('raw_policies', 'identity_identifiers')
        ~ ' k on k.is_active and k.identifier_type = l.identifier_type group by m.root, l.identifier_key having count(*) > 1), '
        ~ 'nodes as (select root, list(node order by first_received_at, node) as nodes from members group by root), '
        ~ 'sharing as (select root, list(carriers order by priority, identifier_key) as carried from carried group by root), '
        ~ 'pairs as (select root, list(left_record_key order by left_record_key, right_record_key) as lefts, '
        ~ 'list(right_record_key order by left_record_key, right_record_key) as rights from ' ~ apart ~ ' group by root), '
        ~ 'told as (select nodes, join_except_apart(nodes, carried, lefts, rights) as parts from nodes inner join sharing using (root) '
        ~ 'inner join pairs using (root)) select unnest(nodes) as node, unnest(parts) as part from told'
    ) %}
    {% do run_query(
        'create or replace table ' ~ scratch ~ ' as select w.node, coalesce(p.part, w.root) as root from ' ~ scratch ~ '__whole w left join '
        ~ scratch ~ '__parts p on p.node = w.node'
    ) %}
    {% do run_query('drop table ' ~ apart) %}
    {% do run_query('drop table ' ~ scratch ~ '__parts') %}
    {{ return(true) }}
{% endmacro %}

{# Adds to each record the component it is of before anything is split (`scratch`: node, root, component); none where nothing is: then it
   is the person's root. #}
{% macro keep_components(scratch, is_split) %}
    {% if not is_split %}
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
