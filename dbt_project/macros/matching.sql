{# Rows of a policy table of the active identity version. #}
{% macro matching_rows(table, columns, order_by) %}
    {{ return(policy_rows(table, columns, 'is_active', order_by)) }}
{% endmacro %}

{# Thresholds and limits; none while nothing was trained for the active identity version, and then nothing is matched. #}
{% macro matching_settings() %}
    {% set rows = matching_rows(
        'identity_matching',
        'parameters_version, prior_weight, link_weight, review_weight, keep_weight, unscored_weight, max_block, max_group, max_records, '
        ~ 'min_density',
        'version'
    ) %}
    {{ return(rows[0] if rows else none) }}
{% endmacro %}

{# Name, SQL and whether it is distinct, of each compared column. #}
{% macro matching_columns() %}
    {{ return(matching_rows('identity_matching_columns', 'column_name, expression, is_distinct', 'position')) }}
{% endmacro %}

{# Number of the rule and SQL of each blocking key. #}
{% macro matching_keys() %}
    {{ return(matching_rows('identity_matching_keys', 'rule, expression', 'rule, expression')) }}
{% endmacro %}

{# Levels of agreement in the order in which they are tried. #}
{% macro matching_levels() %}
    {{ return(matching_rows(
        'identity_matching_levels',
        'comparison_position, comparison, label, condition, match_weight, u_probability, term_frequency_column',
        'comparison_position, level_position'
    )) }}
{% endmacro %}

{# Blocks of which a batch changed the records, kept for the next attempt when this one dies before the pairs are scored. #}
{% macro blocks_changed() -%}
    intermediate.blocks_changed
{%- endmacro %}

{# Records of which a batch changed a pair: with whom they are one person has to be settled again. #}
{% macro records_matched() -%}
    intermediate.records_matched
{%- endmacro %}

{% macro records_matched_by_batch() -%}
    select record_key from {{ records_matched() }} where since = '{{ var("since") }}'
{%- endmacro %}

{# Incremental strategy of the blocks: those of the changed records go and come, and both are kept by name. #}
{% macro get_incremental_replace_blocks_sql(arg_dict) %}
    {%- set columns = arg_dict['dest_columns'] | map(attribute='quoted') | join(', ') -%}
    {%- set changed = 'select record_key from ' ~ ref('int_batch__changed_records') ~ ' where is_changed' -%}
    create table if not exists {{ blocks_changed() }} (block_key ubigint, since varchar);
    delete from {{ blocks_changed() }} where since <> '{{ var("since") }}';
    insert into {{ blocks_changed() }}
    select block_key, '{{ var("since") }}' as since from {{ arg_dict['target_relation'] }} where record_key in ({{ changed }})
    union
    select block_key, '{{ var("since") }}' as since from {{ arg_dict['temp_relation'] }};
    delete from {{ arg_dict['target_relation'] }} where record_key in ({{ changed }});
    insert into {{ arg_dict['target_relation'] }} ({{ columns }}) select {{ columns }} from {{ arg_dict['temp_relation'] }}
{% endmacro %}

{# Whose pairs a batch has to score again: its changed records', and everybody's in a block that it may have made too large, or small enough
   again. Gathered into a table before anything is asked for them. #}
{% macro gather_scored_records() %}
    {% if not execute or not matching_settings() %}{{ return('') }}{% endif %}
    {% set former = load_relation(this) %}
    {% if not former or should_full_refresh() %}{{ return('') }}{% endif %}
    {% set blocks = ref('int_identity__blocks') %}
    {% set changed = ref('int_batch__changed_records') %}
    {% set limit = matching_settings()['max_block'] %}
    {% do run_query(
        'create table if not exists ' ~ blocks_changed() ~ ' (block_key ubigint, since varchar)'
    ) %}
    {% do run_query(
        'create or replace table ' ~ this.schema ~ '.records_scored as '
        ~ 'with own as (select distinct block_key from ' ~ blocks_changed() ~ " where since = '" ~ var('since') ~ "'), "
        ~ 'many as (select count(*) as changed_count from ' ~ changed ~ ' where is_changed), '
        ~ 'held as (select block_key, record_key from ' ~ blocks ~ ' where block_key in (select block_key from own) offset 0), '
        ~ 'near as (select block_key from held group by block_key '
        ~ 'having abs(count(*) - ' ~ limit ~ ') <= (select changed_count from many)) '
        ~ 'select record_key from ' ~ changed ~ ' where is_changed union '
        ~ 'select record_key from held where block_key in (select block_key from near)'
    ) %}
{% endmacro %}

{# Incremental strategy of the pairs: those of the records scored again go and come; whom they are with is kept, old and new. #}
{% macro get_incremental_replace_pairs_sql(arg_dict) %}
    {%- set columns = arg_dict['dest_columns'] | map(attribute='quoted') | join(', ') -%}
    {%- set pairs = arg_dict['target_relation'] -%}
    {%- set scored = 'select record_key from ' ~ arg_dict['target_relation'].schema ~ '.records_scored' -%}
    create table if not exists {{ records_matched() }} (record_key ubigint, since varchar);
    delete from {{ records_matched() }} where since <> '{{ var("since") }}';
    {% if matching_settings() %}
        create or replace temp table pairs_gone as
        select left_record_key, right_record_key from {{ pairs }} where left_record_key in ({{ scored }})
        union
        select left_record_key, right_record_key from {{ pairs }} where right_record_key in ({{ scored }});
        insert into {{ records_matched() }}
        select record_key, '{{ var("since") }}' as since
        from (
            select unnest([left_record_key, right_record_key]) as record_key from pairs_gone
            union
            select unnest([left_record_key, right_record_key]) as record_key from {{ arg_dict['temp_relation'] }}
        );
        delete from {{ pairs }} where left_record_key in ({{ scored }});
        delete from {{ pairs }} where right_record_key in ({{ scored }});
        insert into {{ pairs }} ({{ columns }}) select {{ columns }} from {{ arg_dict['temp_relation'] }};
        drop table if exists {{ arg_dict['target_relation'].schema }}.records_scored
    {% endif %}
{% endmacro %}

{# Adds to the records of a batch whoever links, with their identifiers or by evidence, may make one person with them: rounds until nobody is
   new. Whoever shares an identifier with a record that did not change was one person with it before. #}
{% macro grow_scope_by_matches(scope, former) %}
    {% set settings = matching_settings() %}
    {% if not settings or not load_relation(ref('int_identity__matches')) %}{{ return('') }}{% endif %}
    {% set pairs = ref('int_identity__matches') %}
    {% set reached = scope ~ '__reached' %}
    {% set state = namespace(new=1) %}
    {% do run_query('create or replace table ' ~ reached ~ ' as select record_key from ' ~ scope) %}
    {% for round in range(64) if state.new > 0 %}
        {% do run_query(
            'create or replace table ' ~ reached ~ '__next as with linked as ('
            ~ 'select left_record_key, right_record_key, match_weight from ' ~ pairs
            ~ ' where left_record_key in (select record_key from ' ~ reached ~ ') union all '
            ~ 'select left_record_key, right_record_key, match_weight from ' ~ pairs
            ~ ' where right_record_key in (select record_key from ' ~ reached ~ ')), '
            ~ 'met as (select distinct unnest([left_record_key, right_record_key]) as record_key from linked where match_weight >= '
            ~ settings['link_weight'] ~ '), '
            ~ 'fresh as (select record_key from met where record_key not in (select record_key from ' ~ scope ~ ')) '
            ~ 'select record_key from fresh union select record_key from ' ~ former ~ ' where component_key in ('
            ~ 'select component_key from ' ~ former ~ ' where record_key in (select record_key from fresh))'
        ) %}
        {% do run_query(
            'create or replace table ' ~ reached ~ ' as select record_key from ' ~ reached ~ '__next '
            ~ 'where record_key not in (select record_key from ' ~ scope ~ ')'
        ) %}
        {% do run_query('insert into ' ~ scope ~ ' select record_key from ' ~ reached) %}
        {% set state.new = run_query('select count(*) from ' ~ reached).columns[0].values()[0] %}
    {% endfor %}
    {% do run_query('drop table if exists ' ~ reached) %}
    {% do run_query('drop table if exists ' ~ reached ~ '__next') %}
{% endmacro %}

{# Verdicts on the links of a scope, in this table until int_identity__links has kept them. #}
{% macro link_verdicts() -%}
    intermediate.link_verdicts
{%- endmacro %}

{# Joins the components that identifiers make (`scratch`: node, root) where the evidence of pairs holds. Components that links join are a group,
   and of each group the guard (models.matching.guard) says which links hold; `scratch` then has the roots of both. #}
{% macro settle_matches(scope, scratch, is_batch) %}
    {% set settings = matching_settings() %}
    {% do run_query(
        'create or replace table ' ~ link_verdicts() ~ ' (left_record_key ubigint, right_record_key ubigint, refused_reason varchar)'
    ) %}
    {% if not settings or not load_relation(ref('int_identity__matches')) %}{{ return('') }}{% endif %}
    {% set pairs = scratch ~ '__pairs' %}
    {% set groups = scratch ~ '__groups' %}
    {% set link = settings['link_weight'] %}
    {# A no holds also of a pair that nothing speaks for any more: a third record may still be like both. #}
    {% do run_query(
        'create or replace table ' ~ pairs ~ ' as with own as (select left_record_key, right_record_key, match_weight from '
        ~ ref('int_identity__matches')
        ~ (' where left_record_key in (select record_key from ' ~ scope ~ ') offset 0' if is_batch else '') ~ '), '
        ~ 'apart as (' ~ records_held_apart('select record_key from ' ~ scope if is_batch else none) ~ '), '
        ~ 'judged as (select coalesce(own.left_record_key, apart.left_record_key) as left_record_key, '
        ~ 'coalesce(own.right_record_key, apart.right_record_key) as right_record_key, '
        ~ 'case when apart.left_record_key is null then own.match_weight else -1e6 end as match_weight, '
        ~ 'coalesce(own.match_weight >= ' ~ link ~ ', false) as is_link from own '
        ~ 'full join apart on apart.left_record_key = own.left_record_key and apart.right_record_key = own.right_record_key) '
        ~ 'select judged.left_record_key, judged.right_record_key, l.root as left_root, r.root as right_root, '
        ~ 'judged.match_weight, judged.is_link from judged '
        ~ 'inner join ' ~ scratch ~ ' l on l.node = judged.left_record_key inner join ' ~ scratch ~ ' r on r.node = judged.right_record_key '
        ~ 'where l.root <> r.root'
    ) %}
    {% if not has_rows('select 1 from ' ~ pairs ~ ' where is_link') %}
        {% do run_query('drop table ' ~ pairs) %}
        {{ return('') }}
    {% endif %}
    {% set edges = 'select left_root as a, right_root as b from ' ~ pairs ~ ' where match_weight >= ' ~ link %}
    {{ solve_components('select unnest([left_root, right_root]) as node from ' ~ pairs ~ ' where is_link', edges, groups) }}
    {% set distinct_values = [] %}
    {% for column in matching_columns() if column['is_distinct'] %}
        {% do distinct_values.append("'" ~ column['column_name'] ~ "=' || features['" ~ column['column_name'] ~ "']") %}
    {% endfor %}
    {% do run_query(
        'create or replace table ' ~ link_verdicts() ~ ' as with members as (select g.root as group_key, s.node, s.root from ' ~ groups
        ~ ' g inner join ' ~ scratch ~ ' s on s.root = g.node), '
        ~ 'valued as (select members.*, '
        ~ ('list_filter([' ~ distinct_values | join(', ') ~ '], lambda said: said is not null)' if distinct_values else 'cast([] as varchar[])')
        ~ ' as said from members '
        ~ ('left join ' ~ ref('int_identity__features') ~ ' f on f.record_key = members.node' if distinct_values else '') ~ '), '
        ~ 'listed as (select group_key, count(*) as record_count, list(node order by node) as nodes, list(root order by node) as roots, '
        ~ 'list(said order by node) as said from valued group by group_key), '
        ~ 'inside as (select g.root as group_key, list(p.left_record_key order by p.left_record_key, p.right_record_key) as lefts, '
        ~ 'list(p.right_record_key order by p.left_record_key, p.right_record_key) as rights, '
        ~ 'list(p.match_weight order by p.left_record_key, p.right_record_key) as weights from ' ~ pairs ~ ' p inner join '
        ~ groups ~ ' g on g.node = p.left_root inner join ' ~ groups ~ ' h on h.node = p.right_root and h.root = g.root group by g.root), '
        ~ 'told as (select unnest(settle_links(lefts, rights, weights, nodes, roots, said, ' ~ link ~ ', ' ~ settings['unscored_weight']
        ~ ', ' ~ settings['max_records'] ~ ', ' ~ settings['min_density'] ~ ')) as verdict '
        ~ 'from inside inner join listed using (group_key) where record_count <= ' ~ settings['max_group'] ~ ') '
        ~ 'select verdict.left_record_key, verdict.right_record_key, verdict.refused_reason from told union all '
        ~ "select p.left_record_key, p.right_record_key, 'apart' as refused_reason from " ~ pairs ~ ' p where p.is_link and p.match_weight < ' ~ link
        ~ " union all select p.left_record_key, p.right_record_key, 'group' as refused_reason from " ~ pairs ~ ' p inner join ' ~ groups
        ~ ' g on g.node = p.left_root inner join listed on listed.group_key = g.root '
        ~ 'where p.match_weight >= ' ~ link ~ ' and listed.record_count > ' ~ settings['max_group']
    ) %}
    {% set joined = scratch ~ '__joined' %}
    {{ solve_components(
        'select node from ' ~ groups,
        'select l.root as a, r.root as b from ' ~ link_verdicts() ~ ' v inner join ' ~ scratch ~ ' l on l.node = v.left_record_key inner join '
        ~ scratch ~ ' r on r.node = v.right_record_key where v.refused_reason is null',
        joined
    ) }}
    {% do run_query(
        'create or replace table ' ~ scratch ~ ' as select s.node, coalesce(j.root, s.root) as root from ' ~ scratch
        ~ ' s left join ' ~ joined ~ ' j on j.node = s.root'
    ) %}
    {% for table in [pairs, groups, joined] %}
        {% do run_query('drop table if exists ' ~ table) %}
    {% endfor %}
{% endmacro %}

{# The links verdicts were given on; those of the records resolved go and come. #}
{% macro get_incremental_replace_links_sql(arg_dict) %}
    {%- set columns = arg_dict['dest_columns'] | map(attribute='quoted') | join(', ') -%}
    delete from {{ arg_dict['target_relation'] }} where left_record_key in ({{ records_resolved_by_batch() }});
    insert into {{ arg_dict['target_relation'] }} ({{ columns }}) select {{ columns }} from {{ arg_dict['temp_relation'] }}
{% endmacro %}
