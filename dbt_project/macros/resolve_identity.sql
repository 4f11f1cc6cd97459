{# Solves the part of the identity graph a batch can have changed: the records it changed, everybody they were one person with, and
   everybody who carries one of their identifiers. Components outside share no identifier with these, so their solution stands. #}
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
            ~ 'select record_key from ' ~ former ~ ' where person_id in ('
            ~ 'select person_id from ' ~ former ~ ' where record_key in (select record_key from gathered))'
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
        from carried
        where is_linking
        qualify count(*) over (partition by identifier_key) <= max_records
    {% endset %}
    {{ solve_components('select record_key as node from ' ~ scope, links, scratch) }}
    {% do settle_matches(scope, scratch, is_batch) %}
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
