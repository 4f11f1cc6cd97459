{# Overrides dbt-duckdb's: a table is replaced in one transaction, which DuckDB takes back whole when the model fails. The adapter makes it
   beside the old one and renames both, and what it asks and drops around that costs a small table more than making it does: a seventh of the
   processor time of a whole batch. Foreign keys and grants, which it takes care of too, are not used here. #}
{% materialization table, adapter='duckdb', supported_languages=['sql'] %}
    {%- set former = load_cached_relation(this) -%}
    {%- set target = this.incorporate(type='table') -%}
    {%- set has_contract = config.get('contract').enforced -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% call statement('main') -%}
        {% if former and (has_contract or former.type != 'table') %}drop {{ former.type }} {{ former }};{% endif %}
        {% if has_contract %}
            {{ create_table_as(False, target, compiled_code) }}
        {% else %}
            {# Not dropped before: a model may read what it was. #}
            create or replace table {{ target }} as (
                {{ compiled_code }}
            )
        {% endif %}
    {%- endcall %}
    {% do create_indexes(target) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do persist_docs(target, model) %}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}
