{# Value of one attribute of an activity of Marketo, which lists them as pairs of name and value; null when it is absent or empty. #}
{% macro marketo_attribute(name) -%}
    nullif(
        struct_extract(
            list_filter(
                from_json(json_extract(payload, '$.attributes'), '[{"name": "VARCHAR", "value": "VARCHAR"}]'),
                lambda attribute: struct_extract(attribute, 'name') = '{{ name }}'
            )[1],
            'value'
        ),
        ''
    )
{%- endmacro %}

{# One parameter of an address, as it was meant; null when it is absent or empty. #}
{% macro url_parameter(url, name) -%}
    nullif(url_decode(replace(regexp_extract({{ url }}, '[?&]{{ name }}=([^&#]*)', 1), '+', ' ')), '')
{%- endmacro %}
