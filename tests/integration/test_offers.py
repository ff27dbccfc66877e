"""What to offer next, on the whole real sample: rules, cross-sell lists, hot-spots, recommendations, the portrait."""

import pytest

from orchestration import cli
from orchestration.settings import Settings
from orchestration.sources import Source, load_source
from tests.pipeline import Home


def test_rules_hold_in_the_window_that_the_search_did_not_see(sample_home: Home) -> None:
    searches = sample_home.query(
        "select unit, level, count_rules, holding_share, outcome from marts.product_affinity_searches"
    )
    assert len(searches) == 6
    for unit, level, rules, holding, outcome in searches:
        assert rules > 500 and holding > 0.9 and outcome.startswith("complete"), (unit, level)
    together = sample_home.query(
        "select lift > 5, lift_next_period > 5 from marts.product_affinity where unit = 'order'"
        " and antecedent like '%/ BAGELS' and consequent like '%/ CREAM CHEESE'"
    )
    assert together == [(True, True)]


def test_an_offer_is_worth_what_its_chance_and_its_price_say(sample_home: Home) -> None:
    kinds = sample_home.query(
        "select kind, level, count(distinct customer_id) > 50, max(offer_rank) between 2 and 3"
        " from marts.cross_sell_opportunities"
        " group by all order by all"
    )
    assert kinds == [
        (kind, level, True, True)
        for kind in ("missing_item", "rule")
        for level in ("category", "product", "subcategory")
    ]
    assert sample_home.query(
        "select count(*) from marts.cross_sell_opportunities"
        " where abs(expected_value - purchase_probability * avg_net_sales) > 0.0001"
    ) == [(0,)]
    # Who buys the rest of a rule is likelier to begin with an item than others, but far less than its confidence says.
    ((chance, base, confidence),) = sample_home.query(
        "select avg(purchase_probability), avg(base_probability), avg(confidence) from marts.product_affinity"
        " where purchase_probability is not null"
    )
    assert base < chance < confidence / 2


def test_christmas_is_a_hot_spot_at_the_end_of_december(sample_home: Home) -> None:
    assert sample_home.query(
        "select is_hot_spot from marts.demand_hot_spots where dimension = 'all' and category like '%CHRISTMAS%'"
    ) == [(True,)]
    ((all_of_them, hot),) = sample_home.query(
        "select count(*), count_if(is_hot_spot)::bigint from marts.demand_hot_spots where dimension = 'all'"
    )
    assert 0 < hot < all_of_them / 10


def test_everybody_gets_two_lists_of_what_may_be_offered(sample_home: Home) -> None:
    assert sample_home.query(
        "select count(distinct customer_id), max(rank), count_if(method = 'ranker') > 0.9 * count(*)"
        " from marts.product_recommendations"
    ) == [(2_469, 20, True)]
    ((fewest, most),) = sample_home.query(
        "select min(products), max(products) from (select count(*) as products from marts.product_recommendations"
        " where list = 'discover' group by customer_id)"
    )
    assert (fewest, most) == (10, 10)
    # By other tables than those that the lists are made of.
    assert sample_home.query(
        "with bought as (select customer_id, product_id, max(order_date) as last_date from marts.order_lines"
        "   where line_type in ('sale', 'free_item') group by all)"
        " select count_if(is_new_to_customer = (bought.product_id is not null)),"
        " count_if(products.department in ('FUEL', 'MISCELLANEOUS', 'COUPON')),"
        # Products were looked at on the Sunday before.
        " count_if(sold.last_date < date '2017-12-31' - 84)"
        " from marts.product_recommendations as lists inner join marts.products using (product_id)"
        " left join bought using (customer_id, product_id)"
        " left join (select product_id, max(last_date) as last_date from bought group by all) as sold"
        " on lists.product_id = sold.product_id"
    ) == [(0, 0, 0)]
    assert sample_home.query(
        "select max(products) from (select count(*) as products from marts.product_recommendations"
        " where category != 'unknown' group by customer_id, list, department, category)"
    ) == [(3,)]


def test_recommendations_are_better_than_what_they_must_beat(sample_home: Home) -> None:
    found = dict(
        sample_home.query(
            "select metric, lower from marts.model_performance where model = 'recommendations'"
            " and role = 'challenger' and metric like '%_above_%'"
        )
    )
    assert set(found) == {
        *("recall_10_above_personal_frequency", "recall_10_above_popularity", "recall_10_new_above_popularity"),
    }
    assert min(found.values()) > 0


def test_the_next_product_and_order_are_in_customer_360(sample_home: Home) -> None:
    assert sample_home.query(
        "select count_if(next_product_id is distinct from lists.product_id or next_category != lists.category),"
        " count_if(next_order_expected_at < customer_360.as_of_date)"
        " from marts.customer_360 left join marts.product_recommendations as lists"
        " on customer_360.customer_id = lists.customer_id and lists.rank = 1"
    ) == [(0, 0)]
    ((expected, overdue),) = sample_home.query(
        "select count(next_order_expected_at), count_if(recency_days > 56 and next_order_expected_at is not null)"
        " from marts.customer_360"
    )
    assert expected > 2_000 and overdue < 100


def test_the_history_keeps_what_was_recommended(sample_home: Home) -> None:
    assert sample_home.query(
        "select count(*) from (select customer_id, as_of_date, rank, product_id from marts.product_recommendations"
        " except select customer_id, as_of_date, rank, product_id from marts.product_recommendations_history)"
    ) == [(0,)]


def test_without_a_model_the_lists_are_the_baselines_and_named_so(small_home: Home) -> None:
    methods = small_home.query(
        "select list, method, count(distinct customer_id) > 1 from marts.product_recommendations group by all"
        " order by all"
    )
    assert ("buy_again", "personal_frequency", True) in methods
    assert {method for name, method, _ in methods if name == "discover"} <= {"popularity", "segment_popularity"}


def test_the_portrait_shows_both_lists_and_what_to_cross_sell(
    sample_home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: Settings = sample_home.settings
    source: Source = load_source(settings.source)
    assert cli.profile(settings, source, "1") == 0
    shown = capsys.readouterr().out
    for heading, words in (("To buy again", "visits"), ("To discover", "buy"), ("To cross-sell", "never")):
        assert words in shown.split(heading)[1].split("\n\n")[0]
