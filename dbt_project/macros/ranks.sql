{#
    The share of rows below a value, equal values counting half: 0 to 1, tie-safe at either end.
    Mid-rank: the mean of the ranks that the equal values take up (Kendall, Rank Correlation Methods, 1948, ch. 3).
#}
{% macro rank_share(expression, partition=none) -%}
    {%- set within = 'partition by ' ~ partition if partition else '' -%}
    ((
        rank() over ({{ within }} order by {{ expression }}) - 1
        + count(*) over (partition by {{ partition ~ ', ' if partition else '' }}{{ expression }}) / 2.0
    ) / count(*) over ({{ within }}))
{%- endmacro %}

{# 1 to 5 by that share, 5 for the greatest. #}
{% macro quintile_score(expression) -%}
    least(5, 1 + floor(5 * {{ rank_share(expression) }}))::integer
{%- endmacro %}

{#
    Whether a row is one of the fewest that come to a share of the total: those above it come to less. Rows with equal values are in or
    out together (a concentration curve; Lorenz 1905). Exact for DECIMAL values above 0.
#}
{% macro carries_share(value, share, partition=none) -%}
    {%- set within = 'partition by ' ~ partition if partition else '' -%}
    sum({{ value }}) over ({{ within }} order by {{ value }} desc range between unbounded preceding and current row)
    - sum({{ value }}) over (partition by {{ partition ~ ', ' if partition else '' }}{{ value }})
    < {{ share }} * sum({{ value }}) over ({{ within }})
{%- endmacro %}
