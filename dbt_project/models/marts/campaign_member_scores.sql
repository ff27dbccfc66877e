with current_day as (
    select *
    from {{ ref('current_day') }}
),

scores as (
    select *
    from {{ source('scores', 'response') }}
),

final as (
    select
        scores.campaign_id,
        scores.customer_id,
        scores.as_of_date,
        scores.response_probability,
        case
            when scores.response_probability is not null
                then ntile(10) over (
                        partition by scores.campaign_id, scores.response_probability is null
                        order by scores.response_probability desc, scores.customer_id asc
                    )
        end::integer as response_decile,
        scores.reason_1,
        scores.reason_2,
        scores.reason_3
    from scores
    inner join current_day on scores.refresh_date = current_day.as_of_date
)

select * from final
