{#
    What may be offered, and the levels at which products are looked at: level, what names an item, and the item it is part of. Paths, as
    one name may stand in several departments.
#}
{% macro item_levels() -%}
    {{ return({
        'product': ['product_id', 'subcategory_id'],
        'subcategory': ['subcategory_id', 'category_id'],
        'category': ['category_id', 'null::varchar'],
    }) }}
{%- endmacro %}

{# The two kinds of baskets, and the smallest support of each at each level. #}
{% macro basket_supports() -%}
    {%- for unit in ['order', 'customer_window'] %}
        {%- set unit_loop = loop %}
        {%- for level in item_levels() %}
            select
                '{{ unit }}' as unit,
                '{{ level }}' as level,
                {{ var('min_support_' ~ unit ~ '_' ~ level) }} as min_support
            {% if not (loop.last and unit_loop.last) %}union all{% endif %}
        {%- endfor %}
    {%- endfor %}
{%- endmacro %}

{#
    CTEs that end with `numbered_rules` and `customer_items`: the relation `rules` with the numbers of its items, and when each customer first
    and last bought an item of a rule, of all that was bought before the as_of_date of `day`, which has one row, or one per `key`. Other
    items are left out, and numbers stand for names, as there are many customers.
#}
{% macro customer_items(day, key=[]) -%}
    rule_items as (
        select
            level,
            item_id,
            row_number() over (order by level, item_id) as item_number
        from (
            {%- for side in ['antecedent_1', 'antecedent_2', 'consequent'] %}
                select
                    level,
                    {{ side }} as item_id
                from rules
                where {{ side }} is not null
                {% if not loop.last %}union{% endif %}
            {%- endfor %}
        ) as items
    ),

    numbered_rules as (
        select
            rules.*,
            first_items.item_number as antecedent_1_number,
            second_items.item_number as antecedent_2_number,
            consequents.item_number as consequent_number
        from rules
        inner join rule_items as first_items on rules.level = first_items.level and rules.antecedent_1 = first_items.item_id
        left join rule_items as second_items on rules.level = second_items.level and rules.antecedent_2 = second_items.item_id
        inner join rule_items as consequents on rules.level = consequents.level and rules.consequent = consequents.item_id
    ),

    item_paths as (
        select
            products.product_id,
            {{ item_paths('products') }}
        from {{ ref('core_products') }} as products
    ),

    product_items as (
        {%- for level, (item_id, _) in item_levels().items() %}
            select
                item_paths.product_id,
                rule_items.item_number
            from item_paths
            inner join rule_items on rule_items.level = '{{ level }}' and item_paths.{{ item_id }} = rule_items.item_id
            {% if not loop.last %}union all{% endif %}
        {%- endfor %}
    ),

    customer_products as (
        select
            order_products.customer_id,
            order_products.product_id,
            min(order_products.order_date) as first_order_date,
            max(order_products.order_date) as last_order_date
        from {{ ref('order_products') }} as order_products
        inner join {{ day }} as day
            on order_products.order_date < day.as_of_date
            {%- for column in key %}
                and order_products.{{ column }} = day.{{ column }}
            {%- endfor %}
        group by order_products.customer_id, order_products.product_id
    ),

    customer_items as (
        select
            customer_products.customer_id,
            product_items.item_number,
            min(customer_products.first_order_date) as first_order_date,
            max(customer_products.last_order_date) as last_order_date
        from customer_products
        inner join product_items on customer_products.product_id = product_items.product_id
        group by customer_products.customer_id, product_items.item_number
    )
{%- endmacro %}

{# The paths, NULL where the last part is unknown. #}
{% macro item_paths(products) -%}
    case when {{ products }}.category != 'unknown' then concat({{ products }}.department, ' / ', {{ products }}.category) end as category_id,
    case
        when {{ products }}.subcategory != 'unknown'
            then concat({{ products }}.department, ' / ', {{ products }}.category, ' / ', {{ products }}.subcategory)
    end as subcategory_id
{%- endmacro %}

{# The condition of being none of some names; a list without names excludes nothing. #}
{% macro is_none_of(expression, names) -%}
    {%- if names -%}
        {{ expression }} not in (
            {%- for name in names %}'{{ name | replace("'", "''") }}'{{ ', ' if not loop.last }}{% endfor -%}
        )
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}

{# Whether a day is in one of the windows that are searched, or in the newest one that is kept out. #}
{% macro is_in_windows(business_date, as_of_date) -%}
    {{ days_between(business_date, as_of_date) }} <= {{ var('offer_window_days') * (var('association_windows') + 1) }}
{%- endmacro %}

{#
    The day before which rules are searched: the newest one of the grid of cut-offs. Half a year changes little in a day, so that a search is
    kept until the next day of the grid.
#}
{% macro search_day(as_of_date) -%}
    {{ add_days(as_of_date, '-' ~ days_into_period(as_of_date, "date '" ~ var('feature_grid_anchor') ~ "'", var('feature_grid_days'))) }}
{%- endmacro %}

{# The variables that rules are found with. #}
{% macro association_variables() -%}
    {%- set names = [
        'offer_window_days', 'association_windows', 'association_min_baskets', 'association_max_combinations', 'association_max_lines',
        'association_significance', 'association_min_confidence', 'association_max_rules', 'cross_sell_prior_customers',
    ] -%}
    {%- for unit in ['order', 'customer_window'] -%}
        {%- for level in item_levels() -%}{%- do names.append('min_support_' ~ unit ~ '_' ~ level) -%}{%- endfor -%}
    {%- endfor -%}
    {{ return(names) }}
{%- endmacro %}

{# Whether a customer is among the share (0 to 1) that is drawn; who is drawn for one share is for every larger one. A hash may have a sign. #}
{% macro is_drawn(customer_id, share) -%}
    abs({{ row_hash([customer_id]) }} % 1000000) < 1000000 * {{ share }}
{%- endmacro %}

{# Windows of `offer_window_days` that end before a day, counted backwards: 0 is the newest. #}
{% macro window_number(business_date, as_of_date) -%}
    floor(({{ days_between(business_date, as_of_date) }} - 1) / {{ var('offer_window_days') }})::integer
{%- endmacro %}

{#
    An upper bound, close where it is small, of the probability that so many or more of the `draws` are marked by chance: the hypergeometric
    probability of just so many, and as its ratio to the next one falls from term to term, at most a geometric series from there.
#}
{% macro hypergeometric_tail(hits, draws, marked, population) -%}
    {%- set next_ratio -%}
        ({{ draws }} - {{ hits }})::double * ({{ marked }} - {{ hits }})
        / (({{ hits }} + 1)::double * ({{ population }} - {{ draws }} - {{ marked }} + {{ hits }} + 1))
    {%- endset -%}
    case
        when {{ next_ratio }} < 1
            then least(1, exp(
                {{ log_factorial(draws) }} - {{ log_factorial(hits) }} - {{ log_factorial(draws ~ ' - ' ~ hits) }}
                + {{ log_factorial(population ~ ' - ' ~ draws) }} - {{ log_factorial(marked ~ ' - ' ~ hits) }}
                - {{ log_factorial(population ~ ' - ' ~ draws ~ ' - ' ~ marked ~ ' + ' ~ hits) }}
                - {{ log_factorial(population) }} + {{ log_factorial(marked) }} + {{ log_factorial(population ~ ' - ' ~ marked) }}
            ) / (1 - {{ next_ratio }}))
        else 1.0
    end
{%- endmacro %}

{% macro log_factorial(number) -%}
    {{ return(adapter.dispatch('log_factorial')(number)) }}
{%- endmacro %}

{% macro default__log_factorial(number) -%}
    lgamma({{ number }} + 1)
{%- endmacro %}

{# Stirling's series; off by less than a thousandth. #}
{% macro spark__log_factorial(number) -%}
    case
        when {{ number }} > 0
            then
                ({{ number }} + 0.5) * ln({{ number }}) - ({{ number }}) + 0.9189385332046727 + 1.0 / (12 * ({{ number }}))
                - 1.0 / (360 * power({{ number }}, 3))
        else 0
    end
{%- endmacro %}
