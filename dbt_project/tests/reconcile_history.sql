-- The newest day of the history is what customer_360 shows.
{{ config(meta={'dagster': {'ref': {'name': 'customer_360_history'}}}) }}

select
    customer_360.customer_id,
    history.rfm_segment as history_rfm_segment,
    customer_360.rfm_segment
from {{ ref('customer_360') }} as customer_360
left join {{ ref('customer_360_history') }} as history
    on customer_360.customer_id = history.customer_id
        and customer_360.as_of_date = history.as_of_date
where history.rfm_segment is distinct from customer_360.rfm_segment
    or history.lifecycle_stage is distinct from customer_360.lifecycle_stage
    or history.lifetime_net_sales is distinct from customer_360.lifetime_net_sales
