{# Timestamps are UTC; a date is always the business time zone's. What engines say differently stands here. #}

{% macro business_date(timestamp_utc) -%}
    {{ return(adapter.dispatch('business_date')(timestamp_utc)) }}
{%- endmacro %}

{% macro default__business_date(timestamp_utc) -%}
    (({{ timestamp_utc }}) at time zone 'UTC' at time zone '{{ var("business_time_zone") }}')::date
{%- endmacro %}

{% macro spark__business_date(timestamp_utc) -%}
    to_date(from_utc_timestamp({{ timestamp_utc }}, '{{ var("business_time_zone") }}'))
{%- endmacro %}

{#
    Of many rows that are joined to the one that tells the day: what lies before it. `is true` keeps this a filter. Of an inequality that
    joins, DuckDB expects a handful of rows however many there are, and plans what follows for so few.
#}
{% macro is_before(moment, bound) -%}
    ({{ moment }} < {{ bound }}) is true
{%- endmacro %}

{# The instant at which a business day begins, in UTC. #}
{% macro business_midnight(business_date) -%}
    {{ return(adapter.dispatch('business_midnight')(business_date)) }}
{%- endmacro %}

{% macro default__business_midnight(business_date) -%}
    (({{ business_date }})::timestamp at time zone '{{ var("business_time_zone") }}' at time zone 'UTC')
{%- endmacro %}

{% macro spark__business_midnight(business_date) -%}
    to_utc_timestamp({{ business_date }}, '{{ var("business_time_zone") }}')
{%- endmacro %}

{% macro add_days(business_date, days) -%}
    {{ return(adapter.dispatch('add_days')(business_date, days)) }}
{%- endmacro %}

{% macro default__add_days(business_date, days) -%}
    (({{ business_date }})::date + ({{ days }})::integer)
{%- endmacro %}

{% macro spark__add_days(business_date, days) -%}
    date_add({{ business_date }}, {{ days }})
{%- endmacro %}

{# Whole days from the first date to the second. #}
{% macro days_between(first_date, second_date) -%}
    {{ datediff(first_date, second_date, 'day') }}
{%- endmacro %}

{# One row per day, both ends included, in a column named business_date. #}
{% macro calendar_days(first_date, last_date) -%}
    {{ return(adapter.dispatch('calendar_days')(first_date, last_date)) }}
{%- endmacro %}

{% macro default__calendar_days(first_date, last_date) -%}
    select unnest(generate_series({{ first_date }}, {{ last_date }}, interval 1 day))::date as business_date
{%- endmacro %}

{% macro spark__calendar_days(first_date, last_date) -%}
    select explode(sequence({{ first_date }}, {{ last_date }}, interval 1 day)) as business_date
{%- endmacro %}

{# The hour of the business day, 0 to 23. #}
{% macro business_hour(timestamp_utc) -%}
    {{ return(adapter.dispatch('business_hour')(timestamp_utc)) }}
{%- endmacro %}

{% macro default__business_hour(timestamp_utc) -%}
    extract(hour from ({{ timestamp_utc }}) at time zone 'UTC' at time zone '{{ var("business_time_zone") }}')
{%- endmacro %}

{% macro spark__business_hour(timestamp_utc) -%}
    extract(hour from from_utc_timestamp({{ timestamp_utc }}, '{{ var("business_time_zone") }}'))
{%- endmacro %}

{# Days since the day before it that begins a period of `period_days`, counted from `anchor` in both directions. #}
{% macro days_into_period(business_date, anchor, period_days) -%}
    ((({{ days_between(anchor, business_date) }}) % {{ period_days }} + {{ period_days }}) % {{ period_days }})
{%- endmacro %}

{# 0 for Monday to 6 for Sunday (1 January 2001 was a Monday). #}
{% macro weekday(business_date) -%}
    {{ days_into_period(business_date, "date '2001-01-01'", 7) }}
{%- endmacro %}

{# The first day of the week. #}
{% macro week_start(business_date) -%}
    {{ add_days(business_date, '-' ~ days_into_period(business_date, "date '" ~ var('week_anchor') ~ "'", 7)) }}
{%- endmacro %}

{# A span of whole hours, rounded. #}
{% macro hours(number) -%}
    (round({{ number }})::bigint * interval 1 hour)
{%- endmacro %}
