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

{# One parameter of an address, as it was meant, or as it stands there where its bytes are no UTF-8; null when it is absent or empty. #}
{% macro url_parameter(url, name) -%}
    {%- set typed = "nullif(replace(regexp_extract(" ~ url ~ ", '[?&]" ~ name ~ "=([^&#]*)', 1), '+', ' '), '')" -%}
    coalesce(try(url_decode({{ typed }})), {{ typed }})
{%- endmacro %}
