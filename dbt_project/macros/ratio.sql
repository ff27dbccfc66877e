{#
    A quotient rounded to `scale` digits, halves away from zero. Division gives floating point, and there 2.01 / 2 is a hair
    below 1.005; counted in units of the last digit a half is exact, and so is its rounding.
#}
{% macro ratio(numerator, denominator, scale) -%}
    (round({{ 10 ** scale }} * ({{ numerator }}) / ({{ denominator }})) / {{ 10 ** scale }})::decimal(18, {{ scale }})
{%- endmacro %}
