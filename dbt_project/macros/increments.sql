{#
    Facts are kept day by day for as long as nothing that goes into a day changes: its rows, the model's SQL, the variables that stand in
    it. `inputs` names the days with an input_fingerprint each (core_order_days, or a query over it); the built_fingerprint stands in every row,
    so what was built and from what is one write. Rows come by appending, in the transaction in which the hook drops what has changed.
#}

{# A table of a version before it had fingerprints gets the column: all of its rows are of another fingerprint then. #}
{% macro give_fingerprint() -%}
    alter table if exists {{ this }} add column if not exists input_fingerprint varchar
{%- endmacro %}

{# Rows of days that are of another fingerprint now, or no days any more. #}
{% macro drop_changed_days(model, inputs, key, variables=[]) -%}
    {%- if is_incremental() -%}
        delete from {{ this }}
        where coalesce(input_fingerprint, '') not in (
            select {{ built_fingerprint(model, key, variables) }}
            from {{ inputs }} as inputs
        )
    {%- endif -%}
{%- endmacro %}

{# The days that are not built, with the fingerprint that their rows will have. #}
{% macro missing_days(model, inputs, key, variables=[]) -%}
    select
        inputs.{{ key }},
        {{ built_fingerprint(model, key, variables) }} as input_fingerprint
    from {{ inputs }} as inputs
    {%- if is_incremental() %}
    where {{ built_fingerprint(model, key, variables) }} not in (
        select built.input_fingerprint
        from {{ this }} as built
        where built.input_fingerprint is not null
    )
    {%- endif %}
{%- endmacro %}

{#
    Where a row looks back on the customer's earlier ones: of every customer whose orders of some day have changed, come or gone, the rows
    from the first such day on. `orders` has the columns customer_id and order_date.
#}
{% macro drop_changed_histories(model, inputs, orders, variables=[]) -%}
    {%- if is_incremental() -%}
        delete from {{ this }}
        using (
            select
                changed.customer_id,
                min(changed.order_date) as first_date
            from (
                select
                    built.customer_id,
                    built.order_date
                from {{ this }} as built
                where coalesce(built.input_fingerprint, '') not in (
                    select {{ built_fingerprint(model, 'order_date', variables) }}
                    from {{ inputs }} as inputs
                )
                union all
                select
                    orders.customer_id,
                    orders.order_date
                from {{ orders }} as orders
                inner join ({{ missing_days(model, inputs, 'order_date', variables) }}) as missing_days
                    on orders.order_date = missing_days.order_date
            ) as changed
            group by changed.customer_id
        ) as histories
        where {{ this }}.customer_id = histories.customer_id
            and {{ this }}.order_date >= histories.first_date
    {%- endif -%}
{%- endmacro %}

{# The orders of the source with their business day. #}
{% macro dated_orders() -%}
    (
        select
            *,
            {{ business_date('ordered_at') }} as order_date
        from {{ staged('orders') }}
    )
{%- endmacro %}

{# The days before the refreshed one, each with what its orders and the groups of departments are. #}
{% macro seen_order_days() -%}
    (
        select
            order_days.order_date,
            md5(concat_ws(' ', order_days.input_fingerprint, department_groups.input_hash)) as input_fingerprint
        from {{ ref('core_order_days') }} as order_days
        inner join {{ source('control', 'refresh') }} as refresh on order_days.order_date < refresh.as_of_date
        cross join (
            select sum({{ row_hash(['department', 'department_group']) }})::varchar as input_hash
            from {{ ref('department_groups') }}
            where source = '{{ var("source") }}'
        ) as department_groups
    )
{%- endmacro %}
