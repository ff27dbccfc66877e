{# No two rows agree in the column; what is NULL is no value. In place of dbt's own test, which groups by the values themselves. #}
{% test unique(model, column_name) %}
    {{ repeated_rows(model, [column_name], column_name ~ ' is not null') }}
{% endtest %}
