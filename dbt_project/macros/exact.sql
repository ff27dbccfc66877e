{#
    Sums over rows stay exact (whole numbers, DECIMAL), so that neither the number of threads nor the order of the rows
    changes a digit. Floating point comes once per result, at the division.
#}

{# A quotient in floating point; NULL where the denominator is zero. #}
{% macro quotient(numerator, denominator) -%}
    (({{ numerator }})::double / nullif(({{ denominator }})::double, 0))
{%- endmacro %}

{# Standard deviation of a sample from its exact moments; NULL with fewer than two values. #}
{% macro spread(value_count, value_sum, sum_of_squares) -%}
    case when {{ value_count }} > 1 then
        sqrt(greatest(
            ({{ sum_of_squares }})::double - ({{ value_sum }})::double * ({{ value_sum }})::double / {{ value_count }}, 0
        ) / ({{ value_count }} - 1))
    end
{%- endmacro %}

{# What is left after `days` of a weight of a million that fades by e every `fading_days`, as a whole number. #}
{% macro faded_millionths(days, fading_days) -%}
    round(1000000 * exp(-({{ days }}) / {{ fading_days }}.0))::bigint
{%- endmacro %}

{# A row's hash. #}
{% macro hash_of(columns) -%}
    {{ return(adapter.dispatch('hash_of')(columns)) }}
{%- endmacro %}

{% macro default__hash_of(columns) -%}
    hash({{ columns | join(', ') }})
{%- endmacro %}

{% macro spark__hash_of(columns) -%}
    xxhash64({{ columns | join(', ') }})
{%- endmacro %}

{# A row's hash, as a number whose sum over many rows does not overflow and does not depend on their order. #}
{% macro row_hash(columns) -%}
    {{ return(adapter.dispatch('row_hash')(columns)) }}
{%- endmacro %}

{% macro default__row_hash(columns) -%}
    {{ hash_of(columns) }}::hugeint
{%- endmacro %}

{% macro spark__row_hash(columns) -%}
    {{ hash_of(columns) }}::decimal(38, 0)
{%- endmacro %}

{# Rows that stand there several times. Hashes are grouped first, as they are much less than the columns; rows that share one are looked at. #}
{% macro repeated_rows(model, columns, condition='true') -%}
    with repeated_hashes as (
        select {{ hash_of(columns) }} as row_hash
        from {{ model }}
        where {{ condition }}
        group by {{ hash_of(columns) }}
        having count(*) > 1
    )

    select
        {{ columns | join(', ') }},
        count(*) as row_count
    from {{ model }}
    where {{ condition }} and {{ hash_of(columns) }} in (select repeated_hashes.row_hash from repeated_hashes)
    group by {{ columns | join(', ') }}
    having count(*) > 1
{%- endmacro %}
