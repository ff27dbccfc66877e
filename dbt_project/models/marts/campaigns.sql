-- A campaign is known from the first instant of its first day.
{{ config(materialized='view') }}

with campaigns as (
    select *
    from {{ ref('core_campaigns') }}
),

current_day as (
    select *
    from {{ ref('current_day') }}
),

final as (
    select
        campaigns.campaign_id,
        campaigns.name,
        campaigns.campaign_type,
        campaigns.channel,
        campaigns.start_date,
        campaigns.end_date,
        campaigns.is_observed_from_start,
        campaigns.end_date < current_day.as_of_date as is_ended
    from campaigns
    inner join current_day on campaigns.start_date <= current_day.as_of_date
)

select * from final
