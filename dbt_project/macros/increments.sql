{#
    What is kept from refresh to refresh is kept for as long as nothing that goes into it changes: the rows that it is made of, its SQL and
    that of the models before it, the macros, and the variables that stand in it. `inputs` names what is kept by (days, cut-offs, campaigns,
    customers) with an input_fingerprint each; the built_fingerprint stands in every row, so what was built and from what is one write, and
    a run that was killed leaves nothing that a later one would take for built. Rows come by appending, in the transaction in which the hook
    drops what has changed.
#}
{% macro built_fingerprint(model, key, variables=[]) -%}
    {%- set parts = [var('macros_hash', '')] -%}
    {%- for name in variables -%}{%- do parts.append(name ~ '=' ~ var(name)) -%}{%- endfor -%}
    {%- set code = {} -%}
    {%- if execute -%}{%- do collect_code(model.unique_id, code) -%}{%- endif -%}
    {%- for unique_id in code | sort -%}{%- do parts.append(code[unique_id]) -%}{%- endfor -%}
    md5(concat_ws(' ', inputs.{{ key }}, inputs.input_fingerprint, '{{ local_md5(parts | join(" ")) }}'))
{%- endmacro %}

{# The SQL of a model and of every model that it is made of, into `code`; of none where dbt knows no graph, as in unit tests. #}
{% macro collect_code(unique_id, code) -%}
    {%- set node = graph.get('nodes', {}).get(unique_id) -%}
    {%- if node and node.resource_type == 'model' and unique_id not in code -%}
        {%- do code.update({unique_id: node.raw_code}) -%}
        {%- for parent in node.depends_on.nodes -%}{%- do collect_code(parent, code) -%}{%- endfor -%}
    {%- endif -%}
{%- endmacro %}

{# Before a run: a kept table whose columns are not those that are declared is of another version, and is built anew. #}
{% macro drop_outdated() -%}
    {%- set dropped = [] -%}
    {%- if execute -%}
        {%- for node in graph.nodes.values() if node.config.materialized == 'incremental' and 'input_fingerprint' in node.columns -%}
            {%- set relation = adapter.get_relation(node.database, node.schema, node.alias) -%}
            {%- if relation is not none and relation.is_table -%}
                {%- set columns = adapter.get_columns_in_relation(relation) | map(attribute='name') | list -%}
                {%- if columns | sort != node.columns.keys() | sort -%}
                    {%- do adapter.drop_relation(relation) -%}
                    {%- do dropped.append(relation) -%}
                {%- endif -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {# Else dbt rolls back what a hook has done. #}
    {%- if dropped %}commit{% endif -%}
{%- endmacro %}

{#
    Before what is missing is built: takes away what is of another fingerprint now, or not asked for any more. A history keeps what is not
    asked for.
#}
{% macro drop_stale(model, inputs, key, variables=[], is_history=false) -%}
    {%- if is_incremental() -%}
        delete from {{ this }}
        where coalesce(input_fingerprint, '') not in (
            select {{ built_fingerprint(model, key, variables) }}
            from {{ inputs }} as inputs
        )
        {%- if is_history %}
        and {{ key }} in (
            select inputs.{{ key }}
            from {{ inputs }} as inputs
        )
        {%- endif %}
    {%- endif -%}
{%- endmacro %}

{# What is not built, with the fingerprint that its rows will have. Each is told once: the engine would keep one for every row in memory. #}
{% macro missing(model, inputs, key, variables=[]) -%}
    select
        inputs.{{ key }},
        {{ built_fingerprint(model, key, variables) }} as input_fingerprint
    from {{ inputs }} as inputs
    {%- if is_incremental() %}
    where {{ built_fingerprint(model, key, variables) }} not in (
        select distinct built.input_fingerprint
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
                inner join ({{ missing(model, inputs, 'order_date', variables) }}) as missing_days
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
            select sum({{ row_hash(['department', 'department_group', 'is_serviced']) }})::varchar as input_hash
            from {{ ref('department_groups') }}
            where source = '{{ var("source") }}'
        ) as department_groups
    )
{%- endmacro %}
