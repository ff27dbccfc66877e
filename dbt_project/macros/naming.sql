{# Schemas are the layers, by their plain name: staging, core, features, marts. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name | trim if custom_schema_name else target.schema }}
{%- endmacro %}

{# Model names are unique in dbt, so core models carry a prefix that their tables drop: core_orders is core.orders. #}
{% macro generate_alias_name(custom_alias_name=none, node=none) -%}
    {%- if custom_alias_name -%}
        {{ custom_alias_name | trim }}
    {%- elif node.name.startswith('core_') -%}
        {{ node.name[5:] }}
    {%- else -%}
        {{ node.name }}
    {%- endif -%}
{%- endmacro %}

{# The staging model that feeds a canonical entity, for the source in use. #}
{% macro staged(entity) -%}
    {{ ref('stg_' ~ var('source') ~ '__' ~ entity) }}
{%- endmacro %}
