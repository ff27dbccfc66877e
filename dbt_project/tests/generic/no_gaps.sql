{# Every day between the first and the last is there; no day at all is a gap. #}
{% test no_gaps(model, column) %}
    select
        min({{ column }}) as first_day,
        max({{ column }}) as last_day,
        count(distinct {{ column }}) as days_found
    from {{ model }}
    having count(distinct {{ column }}) is distinct from {{ days_between('min(' ~ column ~ ')', 'max(' ~ column ~ ')') }} + 1
{% endtest %}
