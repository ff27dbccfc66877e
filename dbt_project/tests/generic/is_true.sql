{# The rule holds for every row; where it cannot be decided (NULL) it is not broken. #}
{% test is_true(model, expression) %}
    select *
    from {{ model }}
    where not ({{ expression }})
{% endtest %}
