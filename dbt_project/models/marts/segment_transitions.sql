-- From the day before in the history to each day; who was not there before comes from not_known, who has no label is none. A rebuilt day
-- changes what the next one follows, so that one is told again too.
{%- set classifications = [
    'rfm_segment', 'lifecycle_stage', 'value_tier', 'is_key_account', 'key_account_driver', 'is_unprofitable', 'purchase_pattern',
    'needs_type', 'loyalty_tier', 'segment_label', 'churn_risk_tier',
] %}
{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key='as_of_date', on_schema_change='append_new_columns'
) }}

with refresh as (
    select as_of_date as refreshed_date
    from {{ source('control', 'refresh') }}
),

history as (
    select *
    from {{ ref('customer_360_history') }}
),

known_days as (
    select distinct as_of_date
    from history
),

days as (
    select
        as_of_date,
        lag(as_of_date) over (order by as_of_date) as previous_as_of_date
    from known_days
),

told as (
    select days.*
    from days
    inner join refresh on refresh.refreshed_date in (days.as_of_date, days.previous_as_of_date)
),

pairs as (
    select
        {%- for classification in classifications %}
            coalesce(current_day.{{ classification }}::varchar, 'none') as to_{{ classification }},
            case
                when previous_day.customer_id is null then 'not_known'
                else coalesce(previous_day.{{ classification }}::varchar, 'none')
            end as from_{{ classification }},
        {%- endfor %}
        told.as_of_date,
        told.previous_as_of_date
    from told
    inner join history as current_day on told.as_of_date = current_day.as_of_date
    left join history as previous_day
        on told.previous_as_of_date = previous_day.as_of_date
            and current_day.customer_id = previous_day.customer_id
),

moves as (
    {% for classification in classifications %}
        select
            as_of_date,
            previous_as_of_date,
            '{{ classification }}' as classification,
            from_{{ classification }} as from_label,
            to_{{ classification }} as to_label,
            count(*) as customers
        from pairs
        group by as_of_date, previous_as_of_date, from_{{ classification }}, to_{{ classification }}
        {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

final as (
    select
        as_of_date,
        previous_as_of_date,
        classification,
        from_label,
        to_label,
        customers,
        ({{ ratio('customers', 'sum(customers) over (partition by as_of_date, classification, from_label)', 6) }})::decimal(9, 6) as share
    from moves
)

select * from final
