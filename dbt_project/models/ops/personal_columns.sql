-- From the descriptions beside the models, so that a new column is hidden as soon as it is called personal.
{% set published = ['marts', 'sync', 'ops'] %}
{% set found = [] %}
{% if execute %}
{% for node in graph.nodes.values() if node.resource_type == 'model' and node.schema in published %}
{% for column in node.columns.values() %}
{% set kind = (column.config.meta or column.meta).get('pii') %}
{% if kind %}
{% do found.append([node.schema, node.name, column.name, kind]) %}
{% endif %}
{% endfor %}
{% endfor %}
{% endif %}

with described (schema_name, table_name, column_name, personal_data) as (
    values
    {% for row in found | sort %}
    ('{{ row | join("', '") }}'),
    {% endfor %}
    (null, null, null, null)
)

select
    schema_name,
    table_name,
    column_name,
    personal_data,
from described
where schema_name is not null
