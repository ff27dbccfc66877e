-- However customers are grouped, the groups come to the sales of everybody, category by category.
{{ config(meta={'dagster': {'ref': {'name': 'demand_hot_spots'}}}) }}

with sums as (
    select
        dimension,
        category,
        sum(net_sales) as net_sales
    from {{ ref('demand_hot_spots') }}
    group by dimension, category
),

dimensions as (
    select distinct dimension
    from sums
),

everybody as (
    select
        dimensions.dimension,
        sums.category,
        sums.net_sales
    from sums
    cross join dimensions
    where sums.dimension = 'all'
)

select
    coalesce(sums.dimension, everybody.dimension) as dimension,
    coalesce(sums.category, everybody.category) as category,
    sums.net_sales,
    everybody.net_sales as net_sales_of_all
from sums
full outer join everybody
    on sums.dimension = everybody.dimension
        and sums.category = everybody.category
where sums.net_sales is distinct from everybody.net_sales
