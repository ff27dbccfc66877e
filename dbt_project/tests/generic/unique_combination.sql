{# No two rows agree in all of the columns. #}
{% test unique_combination(model, columns) %}
    {{ repeated_rows(model, columns) }}
{% endtest %}
