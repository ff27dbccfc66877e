-- The newest day whose customers are classified. Rebuilding an older day leaves it as it is.
{{ config(materialized='view') }}

select
    max(as_of_date) as as_of_date,
    max(as_of_at) as as_of_at
from {{ ref('customer_classes') }}
