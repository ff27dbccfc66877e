"""The rules' SQL beside mlxtend's rules, and on baskets of a test's own: as a refresh compiled it, in memory."""

import random
from collections.abc import Callable, Iterable
from datetime import date, timedelta

import duckdb
import pandas as pd
import pytest
from mlxtend.frequent_patterns import association_rules, fpgrowth
from scipy.stats import hypergeom

from orchestration.dbt_project import run_folder, thresholds
from tests.pipeline import Home

DAY = date(2017, 12, 31)  # of the grid
MODELS = (
    *("association_inputs", "association_items", "basket_items", "frequent_items", "association_rules"),
    *("association_searches", "association_rule_trials"),
)
WINDOW_DAYS = thresholds()["offer_window_days"]
MEASURES = ["support", "confidence", "lift", "leverage", "conviction"]

Order = tuple[str, date, list[str]]  # customer, day, products
Search = Callable[..., duckdb.DuckDBPyConnection]


def compiled(home: Home, model: str) -> str:
    """A model's query as a refresh ran it."""
    folder = run_folder(home.settings) / "compiled" / "customer360" / "models"
    return next(folder.rglob(f"{model}.sql")).read_text()


@pytest.fixture
def search(small_home: Home) -> Search:
    """Runs the models on orders; product P of category C is of subcategory S where it is named C/S/P."""

    def run(orders: Iterable[Order], **replaced: str) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect()
        connection.execute("attach ':memory:' as warehouse")
        for schema in ("control", "core", "features"):
            connection.execute(f"create schema warehouse.{schema}")
        connection.execute(f"create table warehouse.control.refresh as select date '{DAY}' as as_of_date")
        rows = [
            (customer, f"{number}", product, day)
            for number, (customer, day, products) in enumerate(orders)
            for product in products
        ]
        connection.execute(
            "create table warehouse.features.order_products (customer_id varchar, order_id varchar,"
            " product_id varchar, order_date date, net_sales decimal(18, 2), input_fingerprint varchar)"
        )
        if rows:
            connection.executemany("insert into warehouse.features.order_products values (?, ?, ?, ?, 2, 'a')", rows)
        connection.execute(
            "create table warehouse.core.products as select distinct product_id, 'D' as department,"
            " split_part(product_id, '/', 1) as category, split_part(product_id, '/', 2) as subcategory"
            " from warehouse.features.order_products"
        )
        for model in MODELS:
            query = compiled(small_home, model)
            for old, new in replaced.items():
                query = query.replace(str(thresholds()[old]), new)
            connection.execute(f"create table warehouse.features.{model} as {query}")
        return connection

    return run


def rules_of(connection: duckdb.DuckDBPyConnection, unit: str, level: str) -> pd.DataFrame:
    """The rules that were found, by their items."""
    rules = connection.execute(
        "from warehouse.features.association_rules where unit = ? and level = ?", [unit, level]
    ).df()
    items = [
        (frozenset(item for item in (first, second) if not pd.isna(item)), consequent)
        for first, second, consequent in zip(
            rules["antecedent_1"], rules["antecedent_2"], rules["consequent"], strict=True
        )
    ]
    return rules.set_index(pd.Index(items, tupleize_cols=False)).sort_index(key=lambda index: index.map(str))


def outcome(connection: duckdb.DuckDBPyConnection, unit: str = "order", level: str = "product") -> str:
    """What the search says of itself."""
    ((said,),) = connection.execute(
        "select outcome from warehouse.features.association_searches where unit = ? and level = ?", [unit, level]
    ).fetchall()
    return str(said)


def chances(
    count: dict[frozenset[str], int], antecedents: frozenset[str], consequents: frozenset[str], count_baskets: int
) -> list[float]:
    """Exact probabilities of so many baskets with both: if nothing told the consequent; of two, if one did alone."""
    both, drawn = count[antecedents | consequents], count[antecedents]
    told_by = [(count[consequents], count_baskets)]
    if len(antecedents) == 2:
        told_by += [(count[frozenset({item}) | consequents], count[frozenset({item})]) for item in antecedents]
    return [float(hypergeom.sf(both - 1, population, marked, drawn)) for marked, population in told_by]


def expected_rules(connection: duckdb.DuckDBPyConnection, unit: str, level: str) -> pd.DataFrame:
    """Mlxtend's rules with one item to tell, on the same baskets and support; of those the ones beyond chance."""
    items = connection.execute(
        "select basket_number, item_id"
        " from warehouse.features.basket_items inner join warehouse.features.association_items using (level, item_key)"
        " where unit = ? and level = ? and window_number > 0",
        [unit, level],
    ).df()
    (count_baskets, min_count) = connection.execute(
        "select max(count_baskets), max(min_count) from warehouse.features.frequent_items where unit = ? and level = ?",
        [unit, level],
    ).fetchall()[0]
    baskets = pd.crosstab(items["basket_number"], items["item_id"]).astype(bool)
    assert len(baskets) == count_baskets
    sets = fpgrowth(baskets, min_support=min_count / count_baskets, use_colnames=True, max_len=3)
    rules = association_rules(sets, metric="confidence", min_threshold=thresholds()["association_min_confidence"])
    rules = rules[(rules["consequents"].map(len) == 1) & (rules["lift"] > 1)]
    count = {
        items: round(support * count_baskets) for items, support in zip(sets["itemsets"], sets["support"], strict=True)
    }
    rules["exact_p_value"] = [
        max(chances(count, antecedents, consequents, count_baskets))
        for antecedents, consequents in zip(rules["antecedents"], rules["consequents"], strict=True)
    ]
    rules.index = pd.Index(
        [
            (antecedents, next(iter(c)))
            for antecedents, c in zip(rules["antecedents"], rules["consequents"], strict=True)
        ],
        tupleize_cols=False,
    )
    return pd.DataFrame(rules.sort_index(key=lambda index: index.map(str)))


@pytest.mark.parametrize("unit", ["order", "customer_window"])
@pytest.mark.parametrize("level", ["product", "subcategory", "category"])
def test_rules_of_real_baskets_are_those_of_mlxtend(small_home: Home, unit: str, level: str) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"attach '{small_home.settings.warehouse_path}' as warehouse (read_only)")
        ours = rules_of(connection, unit, level)
        theirs = expected_rules(connection, unit, level)
        (count_items,) = connection.execute(
            "select count(*) from warehouse.features.frequent_items where unit = ? and level = ?", [unit, level]
        ).fetchall()[0]
    assert len(ours) > 0
    count_tried = count_items * (count_items - 1) + count_items * (count_items - 1) * (count_items - 2) / 2
    # Ours are those of theirs that chance does not explain.
    assert set(ours.index) <= set(theirs.index)
    common = theirs.loc[ours.index]
    pd.testing.assert_frame_equal(
        ours[MEASURES],
        common[MEASURES].replace(float("inf"), float("nan")),
        check_dtype=False,
        rtol=1e-9,
        atol=1e-12,
    )
    # The bound is never below the exact value, and close to it where it decides.
    significance = thresholds()["association_significance"]
    assert (ours["p_value"] / common["exact_p_value"]).between(1 - 1e-6, 1.5).all()
    assert (ours["adjusted_p_value"] <= significance).all()
    if len(ours) < thresholds()["association_max_rules"]:
        left_out = theirs[~theirs.index.isin(ours.index)]
        assert (left_out["exact_p_value"] * count_tried > significance / 1.5).all()


def test_a_rule_that_was_put_in_is_found_and_chance_is_not(search: Search) -> None:
    """B follows A in 9 of 10 orders; 30 other products fall by chance."""
    dice = random.Random(0)
    orders: list[Order] = []
    for number in range(3000):
        products = {f"X/N{noise}/n{noise}" for noise in dice.sample(range(30), 5)}
        if dice.random() < 0.1:
            products |= {"A/a/A"} | ({"B/b/B"} if dice.random() < 0.9 else set())
        orders.append((f"c{number % 100}", DAY - timedelta(days=1 + dice.randrange(7 * WINDOW_DAYS)), sorted(products)))
    found = rules_of(search(orders), "order", "product")
    assert set(found.index) == {(frozenset({"A/a/A"}), "B/b/B"), (frozenset({"B/b/B"}), "A/a/A")}
    assert found["confidence"].tolist() == pytest.approx([0.9, 1.0], abs=0.05)
    assert found["lift_next_period"].between(8, 13).all()
    assert found["conviction"].isna().tolist() == [False, True]  # B is never bought without A
    assert not found["is_trivial"].any()


def test_the_newest_window_is_kept_out_of_the_search(search: Search) -> None:
    """A and B go together until the newest window, and C and D only in it."""
    before, newest = DAY - timedelta(days=WINDOW_DAYS + 1), DAY - timedelta(days=1)
    orders: list[Order] = [("c", before, ["A/a/A", "B/b/B"])] * 50 + [("c", before, [f"X/x/{n}"]) for n in range(450)]
    orders += (
        [("c", newest, ["A/a/A"])] * 25 + [("c", newest, ["B/b/B"])] * 25 + [("c", newest, ["C/c/C", "D/d/D"])] * 50
    )
    found = rules_of(search(orders), "order", "product")
    assert {consequent for _, consequent in found.index} == {"A/a/A", "B/b/B"}
    assert found["lift"].tolist() == pytest.approx([10, 10])
    assert found["lift_next_period"].tolist() == [0, 0]


def test_two_of_a_kind_are_trivial(search: Search) -> None:
    day = DAY - timedelta(days=WINDOW_DAYS + 1)
    orders: list[Order] = [("c", day, ["A/a/small", "A/a/large"])] * 50 + [("c", day, ["A/b/B", "C/c/C"])] * 50
    orders += [("c", day, [f"X/x/{n}"]) for n in range(400)]
    connection = search(orders)
    products, subcategories = (rules_of(connection, "order", level) for level in ("product", "subcategory"))
    assert products["is_trivial"].to_dict() == {
        (frozenset({"A/a/small"}), "A/a/large"): True,
        (frozenset({"A/a/large"}), "A/a/small"): True,
        (frozenset({"A/b/B"}), "C/c/C"): False,
        (frozenset({"C/c/C"}), "A/b/B"): False,
    }
    assert not subcategories["is_trivial"].any()


def test_trials_count_first_purchases_of_those_who_had_the_antecedent(search: Search) -> None:
    """40 of 100 who had A and never B buy it in the newest window, of 100 without A nobody does; others own both."""
    searched, before, newest = (DAY - timedelta(days=days) for days in (2 * WINDOW_DAYS + 1, WINDOW_DAYS + 1, 1))
    orders: list[Order] = [(f"owner{n}", searched, ["A/a/A", "B/b/B"]) for n in range(100)]
    orders += [(f"owner{n}", before, ["A/a/A", "B/b/B"]) for n in range(100)]
    orders += [(f"had{n}", before, ["A/a/A"]) for n in range(100)]
    orders += [(f"had{n}", newest, ["B/b/B"]) for n in range(40)]
    orders += [(f"other{n}", before, ["C/c/C"]) for n in range(100)]
    connection = search(orders)
    ((tried, bought, base, probability),) = connection.execute(
        "select trials.count_customers, count_buyers, base_probability, purchase_probability"
        " from warehouse.features.association_rule_trials as trials"
        " inner join warehouse.features.association_rules as rules using (rule_id)"
        " where rules.level = 'product' and rules.consequent = 'B/b/B'"
    ).fetchall()
    assert (tried, bought, base) == (100, 40, 0.2)
    weight = thresholds()["cross_sell_prior_customers"]
    assert probability == pytest.approx((40 + 0.2 * weight) / (100 + weight))


EARLIER = DAY - timedelta(days=WINDOW_DAYS + 1)
NO_RULES: dict[str, tuple[list[Order], str]] = {
    "no order": ([], "nothing that may be offered was bought in the searched windows"),
    "one basket": (
        [("c", EARLIER, ["A/a/A", "B/b/B"])],
        "no item is in enough baskets; lower min_support_order_product",
    ),
    "baskets of one item": ([("c", EARLIER, ["A/a/A"])] * 50, "no rule is frequent enough and more than chance"),
    "a product bought by all": (
        [("c", EARLIER, ["A/a/A", f"X/x/{n % 4}"]) for n in range(200)],
        "no rule is frequent enough and more than chance",
    ),
    "everybody buys everything": (
        [("c", EARLIER, [f"X/x/{n}" for n in range(20)])] * 50,
        "no rule is frequent enough and more than chance",
    ),
    "orders in the newest window alone": (
        [("c", DAY - timedelta(days=1), ["A/a/A", "B/b/B"])] * 50,
        "nothing that may be offered was bought in the searched windows",
    ),
}


@pytest.mark.parametrize("case", NO_RULES)
def test_baskets_without_rules_say_so(search: Search, case: str) -> None:
    orders, said = NO_RULES[case]
    connection = search(orders)
    assert len(rules_of(connection, "order", "product")) == 0
    assert outcome(connection).startswith(said)


def test_a_support_that_everything_reaches_is_bounded_and_says_so(search: Search) -> None:
    """50 baskets of 40 items hold 50 x (780 + 9,880) pairs and triples; with 10 items 50 x (45 + 120)."""
    orders: list[Order] = [("c", EARLIER, [f"X/s{n}/{n}" for n in range(40)])] * 50 + [("c", EARLIER, ["Y/y/y"])] * 50
    connection = search(orders, association_max_combinations=str(50 * (45 + 120)))
    searched = connection.execute(
        "select count(*) from warehouse.features.frequent_items"
        " where unit = 'order' and level = 'product' and is_searched"
    ).fetchall()
    assert searched == [(10,)]
    # Any one tells each other; a second adds nothing.
    assert len(rules_of(connection, "order", "product")) == 10 * 9
    assert outcome(connection) == (
        "too many combinations: the most frequent items alone were searched; raise min_support_order_product or"
        " association_max_combinations"
    )


def test_the_rules_kept_are_bounded(search: Search) -> None:
    orders: list[Order] = [("c", EARLIER, [f"X/s{n}/{n}" for n in range(40)])] * 50 + [("c", EARLIER, ["Y/y/y"])] * 50
    connection = search(orders, association_max_rules="7")
    assert len(rules_of(connection, "order", "product")) == 7
    assert "of more rules than association_max_rules" in outcome(connection)


def test_of_too_many_lines_a_part_of_the_customers_is_searched_whole(search: Search) -> None:
    orders: list[Order] = [
        (f"customer {number}", DAY - timedelta(days=WINDOW_DAYS * window + 1), ["A/1/rye", "A/1/milk"])
        for number in range(200)
        for window in (1, 2)
    ]
    baskets = {}
    for share in (0.25, 0.5, 1):
        connection = search(orders, association_max_lines=str(int(800 * share)))
        ((baskets[share],),) = connection.execute(
            "select count(distinct basket_number) from warehouse.features.basket_items where unit = 'order'"
        ).fetchall()
        assert outcome(connection) == (
            "no rule is frequent enough and more than chance"
            if share == 1
            else f"complete among {100 * share:.0f} % of the customers; raise association_max_lines to search more"
        )
    assert baskets[1] == 400
    assert 60 <= baskets[0.5] / 2 <= 140 and 20 <= baskets[0.25] / 2 <= 80 and baskets[0.25] < baskets[0.5]
    assert baskets[0.5] % 2 == 0, "all orders of a customer, or none"
