{% test is_true_for_some(model, condition) %}
    select count(*) as rows_found
    from {{ model }}
    where {{ condition }}
    having count(*) = 0
{% endtest %}
