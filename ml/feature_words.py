"""The features by group, and how each is spoken of: the one list that specifications take their columns from.

Names are those of `dbt_project/models/features`. Features of one theme say one thing; an explanation names the
strongest of them.
"""

from typing import Literal

from ml.specification import Words

Glossary = dict[str, Words]


def _say(theme: str, text: str, kind: Literal["number", "share", "category"] = "number") -> Words:
    return Words(
        theme=theme, text=text + (": {value}" if kind == "category" else ": {value} (typical: {typical})"), kind=kind
    )


RHYTHM: Glossary = {
    "recency_days": _say("recency", "days since the last visit"),
    "recency_to_mean_gap": _say("recency", "time since the last visit, in usual gaps"),
    "recency_to_mean_gap_84d": _say("recency", "time since the last visit, in gaps of the last 12 weeks"),
    "recency_to_longest_gap": _say("recency", "time since the last visit, in longest gaps"),
    "recency_z_score": _say("recency", "time since the last visit against the own rhythm, in standard deviations"),
    "tenure_days": _say("tenure", "days since the first visit"),
    "count_visits": _say("tenure", "visits since the first"),
    "lifetime_count_orders": _say("tenure", "orders since the first"),
    "count_active_months": _say("tenure", "four-week periods with a visit"),
    **{
        f"count_visits_{days}d": _say("visits", f"visits in the last {days} days")
        for days in (7, 14, 21, 28, 42, 56, 84, 112, 182)
    },
    **{
        f"faded_visits_{days}d": _say("visits", f"visits lately, counting less with age ({days} days)")
        for days in (7, 14, 28, 56, 112)
    },
    "visits_per_day": _say("visits", "visits per day since the first"),
    **{
        f"count_active_weeks_{weeks}w": _say("weeks", f"weeks with a visit, of the last {weeks}")
        for weeks in (4, 12, 26)
    },
    "lifetime_net_sales": _say("spend", "net sales since the first visit"),
    **{f"net_sales_{days}d": _say("spend", f"net sales in the last {days} days") for days in (14, 28, 56, 84, 182)},
    **{
        f"faded_net_sales_{days}d": _say("spend", f"net sales lately, counting less with age ({days} days)")
        for days in (28, 84)
    },
    "visits_trend_28d": _say("trend", "visits of the last 28 days against the 28 before"),
    "visits_trend_56d": _say("trend", "visits of the last 56 days against the 56 before"),
    "visits_trend_84d": _say("trend", "visits of the last 84 days against the usual"),
    "faded_visits_trend": _say("trend", "visits of the last two weeks against the last eight"),
    "net_sales_trend_28d": _say("trend", "net sales of the last 28 days against the 28 before"),
    "net_sales_trend_56d": _say("trend", "net sales of the last 56 days against the usual"),
    "last_gap_days": _say("gaps", "days between the last two visits"),
    "mean_gap_days": _say("gaps", "days between visits, on average"),
    "sd_gap_days": _say("regularity", "spread of the days between visits"),
    "median_gap_days": _say("gaps", "days between visits, median"),
    "p90_gap_days": _say("gaps", "days between visits, nine times in ten at most"),
    "longest_gap_days": _say("gaps", "longest time between visits, in days"),
    "mean_gap_days_84d": _say("gaps", "days between visits in the last 12 weeks, on average"),
    "sd_gap_days_84d": _say("regularity", "spread of the days between visits in the last 12 weeks"),
    "longest_gap_days_84d": _say("gaps", "longest time between visits in the last 12 weeks, in days"),
    "longest_gap_days_28d": _say("gaps", "longest time between visits in the last four weeks, in days"),
    "mean_gap_days_last_3": _say("gaps", "days between the last visits, on average"),
    "longest_gap_days_last_5": _say("gaps", "longest time between the last five visits, in days"),
    "gap_variation": _say("regularity", "irregularity of the visits"),
    **{f"count_gaps_over_{days}d": _say("silence", f"times away for more than {days} days") for days in (14, 21, 28)},
    "count_gaps_over_recency": _say("silence", "times away for longer than now"),
    "count_gaps_over_recency_14d": _say("silence", "times away for two weeks longer than now"),
    "count_gaps_over_recency_28d": _say("silence", "times away for four weeks longer than now"),
    "residual_gap_days": _say("silence", "days by which earlier absences outlasted the present one"),
    "mean_residual_gap_days": _say("silence", "days that an absence like this one has lasted on"),
    "own_hazard_14d": _say("silence", "share of absences like this one that lasted two more weeks", "share"),
    "own_hazard_28d": _say("silence", "share of absences like this one that lasted four more weeks", "share"),
    **{
        f"silent_share_{days}d": _say("silence", f"share of the time spent away beyond {days} days", "share")
        for days in (7, 14, 28)
    },
}

HABITS: Glossary = {
    "weekend_share": _say("hours", "share of visits at weekends", "share"),
    "morning_share": _say("hours", "share of visits in the morning", "share"),
    "evening_share": _say("hours", "share of visits in the evening", "share"),
    "mean_order_hour": _say("hours", "hour of the orders, on average"),
    "sd_order_hour": _say("hours", "spread of the hours of the orders"),
    "count_stores": _say("stores", "stores visited"),
    "count_stores_84d": _say("stores", "stores visited in the last 12 weeks"),
    "mean_visit_net_sales": _say("basket", "net sales per visit"),
    "mean_visit_net_sales_56d": _say("basket", "net sales per visit in the last 8 weeks"),
    "sd_visit_net_sales": _say("basket", "spread of the net sales per visit"),
    "largest_visit_net_sales": _say("basket", "net sales of the largest visit"),
    "largest_of_last_3_net_sales": _say("basket", "net sales of the largest of the last three visits"),
    "last_visit_net_sales": _say("basket", "net sales of the last visit"),
    "last_visit_line_count": _say("basket", "lines of the last visit"),
    "visit_net_sales_trend_56d": _say("basket", "net sales per visit in the last 8 weeks against the usual"),
    "last_visit_to_mean": _say("basket", "net sales of the last visit against the usual"),
    "small_visit_share": _say("basket", "share of small visits", "share"),
    "large_visit_share": _say("basket", "share of large visits", "share"),
    "count_large_visits_56d": _say("basket", "large visits in the last 8 weeks"),
    "days_since_large_visit": _say("basket", "days since the last large visit"),
    "mean_visit_units": _say("basket", "units per visit"),
    "mean_visit_line_count": _say("basket", "lines per visit"),
    "orders_per_visit": _say("basket", "orders per visit"),
    "discount_share": _say("discounts", "share of discounts in the sales", "share"),
    "discount_share_56d": _say("discounts", "share of discounts in the sales of the last 8 weeks", "share"),
    "discount_share_change_56d": _say("discounts", "change of the share of discounts in the last 8 weeks", "share"),
    "coupon_visit_share": _say("coupons", "share of visits with a coupon", "share"),
    "count_coupon_visits_56d": _say("coupons", "visits with a coupon in the last 8 weeks"),
    "lifetime_coupon_discounts": _say("coupons", "discounts by coupons"),
    "private_label_share": _say("private label", "share of private label in the sales", "share"),
    "private_label_share_56d": _say(
        "private label", "share of private label in the sales of the last 8 weeks", "share"
    ),
    "private_label_share_change_56d": _say(
        "private label", "change of the share of private label in the last 8 weeks", "share"
    ),
    **{
        f"{group}_share": _say("mix", f"share of {group} in the sales", "share")
        for group in ("grocery", "fresh", "prepared", "drugstore", "fuel", "other")
    },
    "mix_change_56d": _say("mix", "change of the mix in the last 8 weeks", "share"),
    "fresh_visit_share": _say("mix", "share of visits with fresh products", "share"),
    "days_since_fresh": _say("mix", "days since fresh products were bought"),
    "days_since_fuel": _say("mix", "days since fuel was bought"),
    "count_departments": _say("variety", "departments bought from"),
    "count_categories": _say("variety", "categories bought"),
    "count_new_categories_56d": _say("variety", "categories new in the last 8 weeks"),
    "mean_visit_categories": _say("variety", "categories per visit"),
    "mean_visit_categories_56d": _say("variety", "categories per visit in the last 8 weeks"),
}

EXPOSURE: Glossary = {
    "count_campaigns": _say("past campaigns", "campaigns taken part in"),
    "count_campaigns_84d": _say("past campaigns", "campaigns started in the last 12 weeks"),
    "count_open_campaigns": _say("past campaigns", "campaigns under way"),
    "days_since_campaign": _say("past campaigns", "days since the last campaign began"),
    "count_responses": _say("past responses", "offers redeemed"),
    "count_campaigns_responded": _say("past responses", "campaigns responded to"),
    "days_since_response": _say("past responses", "days since the last response"),
}

DEMOGRAPHICS: Glossary = {
    "age_band": _say("demographics", "age band", "category"),
    "income_band": _say("demographics", "income band", "category"),
    "household_size": _say("demographics", "household size", "category"),
    "marital_status": _say("demographics", "marital status", "category"),
    "home_ownership": _say("demographics", "home ownership", "category"),
    "kids_count": _say("demographics", "children", "category"),
}

CAMPAIGN: Glossary = {
    "campaign_type": _say("campaign", "type of the campaign", "category"),
    "campaign_days": _say("campaign", "days that the campaign lasts"),
    "count_members": _say("campaign", "members of the campaign"),
    "count_offers": _say("campaign", "offers of the campaign"),
    "count_products": _say("campaign", "products of the campaign"),
}

PAST_RESPONSE: Glossary = {
    "past_count_campaigns": _say("past campaigns", "earlier campaigns"),
    "past_count_closed": _say("past campaigns", "earlier campaigns, ended"),
    "past_count_same_type": _say("past campaigns", "earlier campaigns of this type"),
    "past_days_since_campaign": _say("past campaigns", "days since the member's last campaign began"),
    "past_count_responded": _say("past responses", "earlier campaigns responded to"),
    "past_count_responded_closed": _say("past responses", "earlier campaigns responded to, ended"),
    "past_count_responded_open": _say("past responses", "earlier campaigns responded to, under way"),
    "past_count_responded_same_type": _say("past responses", "earlier campaigns of this type responded to"),
    "past_count_responses": _say("past responses", "offers redeemed before"),
    "past_count_response_days": _say("past responses", "days with a redemption before"),
    "past_most_responses": _say("past responses", "most offers redeemed in one campaign"),
    "past_has_responded_to_last": Words(
        theme="past responses", text="responded to the last campaign: {value}", kind="yes_no"
    ),
    "past_days_since_response": _say("past responses", "days since the last redemption"),
    "past_fastest_response_days": _say("past responses", "days to the quickest response"),
    "past_response_rate": _say("past responses", "share of earlier campaigns responded to", "share"),
    "past_response_rate_same_type": _say(
        "past responses", "share of earlier campaigns of this type responded to", "share"
    ),
}

CAMPAIGN_FIT: Glossary = {
    "fit_net_sales": _say("fit", "net sales of the campaign's products before"),
    "fit_count_lines": _say("fit", "purchases of the campaign's products before"),
    "fit_count_products": _say("fit", "the campaign's products bought before"),
    "fit_faded_lines_56d": _say("fit", "purchases of the campaign's products, counting less with age"),
    "fit_days_since_order": _say("fit", "days since one of the campaign's products was bought"),
    "fit_coupon_discounts": _say("fit", "coupon discounts on the campaign's products before"),
    "fit_net_sales_share": _say("fit", "share of the campaign's products in the sales", "share"),
    "fit_faded_share": _say("fit", "share of the campaign's products in recent purchases", "share"),
    "category_net_sales": _say("fit", "net sales of the campaign's categories and brands"),
    "category_faded_lines_56d": _say("fit", "purchases of the campaign's categories, counting less with age"),
    "category_count": _say("fit", "the campaign's categories bought before"),
    "category_count_coupon_lines": _say("fit", "coupons used in the campaign's categories"),
    "category_net_sales_share": _say("fit", "share of the campaign's categories in the sales", "share"),
    "offer_count_bought": _say("fit", "offers whose products were bought before"),
    "offer_count_bought_3": _say("fit", "offers whose products were bought three times or more"),
    "offer_share_bought": _say("fit", "share of the offers whose products were bought before", "share"),
    "offer_top_faded_lines_56d": _say("fit", "purchases of the best-fitting offer, counting less with age"),
    "offer_top_4_faded_lines_56d": _say("fit", "purchases of the four best-fitting offers, counting less with age"),
    "offer_top_16_faded_lines_56d": _say("fit", "purchases of the sixteen best-fitting offers, counting less with age"),
    "offer_top_count_lines": _say("fit", "purchases of the most bought offer"),
    "offer_count_coupon_lines": _say("fit", "coupons used on the campaign's offers before"),
}

COUPON_USE: Glossary = {
    "coupon_count_orders": _say("coupons", "orders with a coupon"),
    "coupon_count_orders_28d": _say("coupons", "orders with a coupon in the last 4 weeks"),
    "coupon_count_orders_56d": _say("coupons", "orders with a coupon in the last 8 weeks"),
    "coupon_faded_lines_56d": _say("coupons", "coupons used, counting less with age"),
    "coupon_discounts": _say("coupons", "discounts by coupons"),
    "coupon_count_products": _say("coupons", "products bought with a coupon"),
    "coupon_count_categories": _say("coupons", "categories bought with a coupon"),
    "days_since_coupon": _say("coupons", "days since a coupon was used"),
}
