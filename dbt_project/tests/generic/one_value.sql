{# The column has one value in all rows (that meet the condition), or none; a failure lists the values, and how many rows each has by `per`. #}
{% test one_value(model, column, per, condition='true') %}
    with counts as (
        select
            {{ column }},
            {{ per }},
            count(*) as row_count
        from {{ model }}
        where {{ column }} is not null and {{ condition }}
        group by {{ column }}, {{ per }}
    )

    select *
    from counts
    where (select count(distinct {{ column }}) from counts) > 1
{% endtest %}
