{#
    1 to 5 by the value's mid-rank among the rows, 5 for the greatest: rows with equal values share one score, at either end.
    Mid-rank: the mean of the ranks that the equal values take up (Kendall, Rank Correlation Methods, 1948, ch. 3).
#}
{% macro quintile_score(expression) -%}
    least(
        5,
        1 + floor(
            5 * (rank() over (order by {{ expression }}) - 1 + count(*) over (partition by {{ expression }}) / 2.0)
            / count(*) over ()
        )
    )::integer
{%- endmacro %}
