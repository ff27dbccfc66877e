-- Rules with one item or two that tell another (Agrawal, Imielinski, Swami 1993; sets of three are searched where their pairs are frequent,
-- Agrawal, Srikant 1994). The newest window is kept out of the search: there a rule shows whether it holds.
-- p_value: that so many baskets or more hold both if neither told the other (Fisher's exact test, one-sided). Of two items each must tell more
-- than the other alone: the greatest of three, that of both and, within the baskets with either item, that of the other (productive rules;
-- Webb 2007, Discovering Significant Patterns, Machine Learning 68).
-- adjusted_p_value: times the number of rules that could have been found among the searched items (Bonferroni).
{{ config(
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_stale(model, ref('association_inputs'), 'as_of_date', association_variables(), is_history=true) }}",
) }}

with search as (
    {{ missing(model, ref('association_inputs'), 'as_of_date', association_variables()) }}
),

frequent_items as (
    select frequent_items.*
    from {{ ref('frequent_items') }} as frequent_items
    inner join search on frequent_items.as_of_date = search.as_of_date
    where frequent_items.is_searched
),

searches as (
    select
        unit,
        level,
        row_number() over (order by unit, level) as search_number,
        -- Ordered pairs, and triples of which each item may be the one that is told.
        (count(*) * (count(*) - 1) + count(*) * (count(*) - 1) * (count(*) - 2) / 2)::double as count_tried
    from frequent_items
    group by unit, level
),

items as (
    select
        -- Of one search alone, of which there are no more than these.
        basket_items.basket_number * {{ 2 * item_levels() | length }} + searches.search_number as basket_number,
        basket_items.window_number = 0 as is_next,
        frequent_items.item_number
    from {{ ref('basket_items') }} as basket_items
    inner join frequent_items
        on basket_items.unit = frequent_items.unit
            and basket_items.item_key = frequent_items.item_key
    inner join searches
        on frequent_items.unit = searches.unit
            and frequent_items.level = searches.level
),

basket_pairs as (
    select
        first_items.basket_number,
        first_items.is_next,
        first_items.item_number as item_1,
        second_items.item_number as item_2
    from items as first_items
    inner join items as second_items
        on first_items.basket_number = second_items.basket_number
            and first_items.item_number < second_items.item_number
),

counted_pairs as (
    select
        item_1,
        item_2,
        count(*) filter (where not is_next) as count_set,
        count(*) filter (where is_next) as count_set_next
    from basket_pairs
    group by item_1, item_2
),

pairs as (
    select counted_pairs.*
    from counted_pairs
    inner join frequent_items
        on counted_pairs.item_1 = frequent_items.item_number
            and counted_pairs.count_set >= frequent_items.min_count
),

frequent_basket_pairs as (
    select basket_pairs.*
    from basket_pairs
    semi join pairs on basket_pairs.item_1 = pairs.item_1 and basket_pairs.item_2 = pairs.item_2
),

counted_triples as (
    select
        first_pairs.item_1,
        first_pairs.item_2,
        second_pairs.item_2 as item_3,
        count(*) filter (where not first_pairs.is_next) as count_set,
        count(*) filter (where first_pairs.is_next) as count_set_next
    from frequent_basket_pairs as first_pairs
    inner join frequent_basket_pairs as second_pairs
        on first_pairs.basket_number = second_pairs.basket_number
            and first_pairs.item_1 = second_pairs.item_1
            and first_pairs.item_2 < second_pairs.item_2
    group by first_pairs.item_1, first_pairs.item_2, second_pairs.item_2
),

triples as (
    select counted_triples.*
    from counted_triples
    inner join frequent_items
        on counted_triples.item_1 = frequent_items.item_number
            and counted_triples.count_set >= frequent_items.min_count
),

directed as (
    {% for antecedent, consequent in [('item_1', 'item_2'), ('item_2', 'item_1')] -%}
        select
            {{ antecedent }} as antecedent_1,
            null::bigint as antecedent_2,
            {{ consequent }} as consequent,
            count_set,
            count_set_next
        from pairs
        union all
    {% endfor -%}
    {% for first, second, consequent in [('item_1', 'item_2', 'item_3'), ('item_1', 'item_3', 'item_2'), ('item_2', 'item_3', 'item_1')] -%}
        select
            {{ first }} as antecedent_1,
            {{ second }} as antecedent_2,
            {{ consequent }} as consequent,
            count_set,
            count_set_next
        from triples
        {% if not loop.last %}union all{% endif %}
    {% endfor -%}
),

counted as (
    select
        first_items.as_of_date,
        first_items.unit,
        first_items.level,
        first_items.item_id as antecedent_1,
        second_items.item_id as antecedent_2,
        consequents.item_id as consequent,
        coalesce(consequents.parent_id in (first_items.parent_id, second_items.parent_id), false) as is_trivial,
        searches.count_tried,
        first_items.count_baskets,
        coalesce(pairs.count_set, first_items.count_item) as count_antecedent,
        first_items.count_item as count_antecedent_1,
        second_items.count_item as count_antecedent_2,
        first_told.count_set as count_first_told,
        second_told.count_set as count_second_told,
        consequents.count_item as count_consequent,
        directed.count_set as count_both,
        consequents.avg_net_sales,
        first_items.count_baskets_next,
        coalesce(pairs.count_set_next, first_items.count_item_next) as count_antecedent_next,
        consequents.count_item_next as count_consequent_next,
        directed.count_set_next as count_both_next
    from directed
    inner join frequent_items as first_items on directed.antecedent_1 = first_items.item_number
    left join frequent_items as second_items on directed.antecedent_2 = second_items.item_number
    inner join frequent_items as consequents on directed.consequent = consequents.item_number
    inner join searches on first_items.unit = searches.unit and first_items.level = searches.level
    left join pairs on directed.antecedent_1 = pairs.item_1 and directed.antecedent_2 = pairs.item_2
    left join pairs as first_told
        on least(directed.antecedent_1, directed.consequent) = first_told.item_1
            and greatest(directed.antecedent_1, directed.consequent) = first_told.item_2
    left join pairs as second_told
        on least(directed.antecedent_2, directed.consequent) = second_told.item_1
            and greatest(directed.antecedent_2, directed.consequent) = second_told.item_2
),

measured as (
    select
        *,
        {{ quotient('count_both', 'count_baskets') }} as support,
        {{ quotient('count_both', 'count_antecedent') }} as confidence,
        {{ quotient('count_both * count_baskets', 'count_antecedent::double * count_consequent') }} as lift,
        {{ quotient('count_both', 'count_baskets') }}
        - {{ quotient('count_antecedent', 'count_baskets') }} * {{ quotient('count_consequent', 'count_baskets') }} as leverage,
        -- Never wrong is infinite.
        case
            when count_both < count_antecedent
                then (1 - {{ quotient('count_consequent', 'count_baskets') }}) / (1 - {{ quotient('count_both', 'count_antecedent') }})
        end as conviction,
        {{ quotient('count_both_next', 'count_antecedent_next') }} as confidence_next_period,
        {{ quotient('count_both_next::double * count_baskets_next', 'count_antecedent_next::double * count_consequent_next') }}
            as lift_next_period,
        greatest(
            {{ hypergeometric_tail('count_both', 'count_antecedent', 'count_consequent', 'count_baskets') }},
            case
                when antecedent_2 is not null
                    then greatest(
                            {{ hypergeometric_tail('count_both', 'count_antecedent', 'count_first_told', 'count_antecedent_1') }},
                            {{ hypergeometric_tail('count_both', 'count_antecedent', 'count_second_told', 'count_antecedent_2') }}
                        )
                else 0
            end
        ) as p_value
    from counted
),

significant as (
    select
        *,
        least(1.0, p_value * count_tried) as adjusted_p_value,
        row_number() over (
            partition by unit, level order by round(leverage, 12) desc, antecedent_1 asc, antecedent_2 asc nulls first, consequent asc
        ) as leverage_rank
    from measured
    where lift > 1
        and p_value * count_tried <= {{ var('association_significance') }}
        and confidence >= {{ var('association_min_confidence') }}
),

final as (
    select
        md5(concat_ws(
            ' > ', significant.unit, significant.level, significant.antecedent_1, significant.antecedent_2, 'then', significant.consequent
        )) as rule_id,
        significant.as_of_date,
        significant.unit,
        significant.level,
        case when significant.antecedent_2 is null then 2 else 3 end as count_items,
        significant.antecedent_1,
        significant.antecedent_2,
        significant.consequent,
        significant.count_baskets,
        significant.count_antecedent,
        significant.count_consequent,
        significant.count_both,
        significant.support,
        significant.confidence,
        significant.lift,
        significant.leverage,
        significant.conviction,
        significant.p_value,
        significant.adjusted_p_value,
        significant.is_trivial,
        significant.count_both_next,
        significant.confidence_next_period,
        significant.lift_next_period,
        significant.avg_net_sales,
        search.input_fingerprint
    from significant
    inner join search on significant.as_of_date = search.as_of_date
    where significant.leverage_rank <= {{ var('association_max_rules') }}
)

select * from final
