"""Lists of a day: what may be in them and in which order, the same in any batch, and what few data give."""

from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.artefact import ArtefactError, sha256_of
from ml.recommendation_candidates import FEATURES
from ml.recommendation_specification import RecommendationSpecification
from ml.recommender import COLUMNS, METHODS, RecommendationModel, Recommender, prepare
from ml.specification import TooLittleDataError
from tests.unit.ml.recommendation_frames import (
    FIRST,
    bought,
    make_customers,
    make_products,
    make_purchases,
    make_recommendation_specification,
)

DAY = FIRST + pd.Timedelta(days=240)
PRODUCTS, CUSTOMERS = make_products(), make_customers()


@pytest.fixture(scope="module")
def spec() -> RecommendationSpecification:
    return make_recommendation_specification()


@pytest.fixture(scope="module")
def purchases() -> pd.DataFrame:
    return make_purchases()


@pytest.fixture(scope="module")
def known(purchases: pd.DataFrame) -> pd.DataFrame:
    """What had been bought by the day."""
    return purchases[pd.to_datetime(purchases["order_date"]) < DAY]


@pytest.fixture(scope="module")
def model(spec: RecommendationSpecification, purchases: pd.DataFrame) -> RecommendationModel:
    return RecommendationModel(spec, threads=1).fit(purchases, PRODUCTS, DAY)


@pytest.fixture(scope="module")
def recommender(spec: RecommendationSpecification, model: RecommendationModel, known: pd.DataFrame) -> Recommender:
    return prepare(spec, model, known, PRODUCTS, CUSTOMERS, DAY)


@pytest.fixture(scope="module")
def lists(recommender: Recommender, known: pd.DataFrame) -> pd.DataFrame:
    return recommender.recommend(CUSTOMERS, known)


def days_ago(days: int) -> date:
    return (DAY - pd.Timedelta(days=days)).date()


def with_products(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.merge(PRODUCTS, on="product_id", validate="many_to_one")


def test_every_customer_has_two_lists_in_the_order_of_the_scores(lists: pd.DataFrame) -> None:
    assert list(lists.columns) == list(COLUMNS)
    assert set(lists["customer_id"]) == set(CUSTOMERS["customer_id"]) and set(lists["list"]) == {
        "buy_again",
        "discover",
    }
    for _, rows in lists.groupby("customer_id"):
        assert rows["rank"].tolist() == list(range(1, len(rows) + 1)) and len(rows) <= 20
        assert rows["score"].is_monotonic_decreasing
        for _, one in rows.groupby("list"):
            assert one["list_rank"].tolist() == list(range(1, len(one) + 1)) and len(one) <= 10
    assert not lists.duplicated(["customer_id", "product_id"]).any()
    assert np.isfinite(lists["score"]).all() and lists["reason"].str.len().min() > 0


def test_only_what_was_never_bought_is_to_be_discovered(lists: pd.DataFrame, known: pd.DataFrame) -> None:
    pairs = set(zip(known["customer_id"], known["product_id"], strict=True))
    was_bought = [pair in pairs for pair in zip(lists["customer_id"], lists["product_id"], strict=True)]
    assert (lists["is_new_to_customer"] != np.array(was_bought)).all()
    assert (lists["is_new_to_customer"] == (lists["list"] == "discover")).all()


def test_a_category_is_not_in_a_list_more_often_than_allowed(
    spec: RecommendationSpecification, model: RecommendationModel, known: pd.DataFrame
) -> None:
    def most(limit: int | None, scorer: RecommendationModel | None) -> int:
        changed = spec.model_copy(update={"max_per_category": limit})
        found = prepare(changed, scorer, known, PRODUCTS, CUSTOMERS, DAY).recommend(CUSTOMERS, known)
        return int(with_products(found).groupby(["customer_id", "list", "category"]).size().max())

    for scorer in (model, None):
        assert most(1, scorer) == 1 and most(2, scorer) == 2
        assert most(None, scorer) > 4


def test_what_has_no_category_knows_no_limit(
    spec: RecommendationSpecification, model: RecommendationModel, known: pd.DataFrame
) -> None:
    """A source without categories and names: full lists, and no reason that speaks of the unknown."""
    bare = PRODUCTS.assign(category=None, subcategory=None, brand=None, product_name=None)
    one = spec.model_copy(update={"max_per_category": 1})
    for scorer in (model, None):
        found = prepare(one, scorer, known, bare, CUSTOMERS, DAY).recommend(CUSTOMERS, known)
        assert found.groupby(["customer_id", "list"]).size().min() >= 5
        assert not found["reason"].str.contains("unknown").any()
        if scorer is not None:
            assert found["reason"].str.contains(r"customers who buy product p\d{3} often").any()


def test_what_is_excluded_is_in_no_list(
    spec: RecommendationSpecification, model: RecommendationModel, known: pd.DataFrame
) -> None:
    assert (known["product_id"] == "fuel1").sum() > 100
    settings = {
        "excluded_departments": ("FUEL", "D1"),
        "excluded_categories": ("C0",),
        "excluded_products": ("unknown", "p002"),
    }
    for scorer in (model, None):
        plain = with_products(prepare(spec, scorer, known, PRODUCTS, CUSTOMERS, DAY).recommend(CUSTOMERS, known))
        assert not plain["department"].isin(["FUEL", "unknown"]).any()
        assert {"D0", "D1"} <= set(plain["department"]) and "p002" in set(plain["product_id"])
        changed = spec.model_copy(update=settings)
        fewer = with_products(prepare(changed, scorer, known, PRODUCTS, CUSTOMERS, DAY).recommend(CUSTOMERS, known))
        assert set(fewer["category"]) == {"C2"} and "p002" not in set(fewer["product_id"])


def test_what_is_not_sold_any_more_is_in_no_list(
    spec: RecommendationSpecification, model: RecommendationModel, known: pd.DataFrame
) -> None:
    gone = known["product_id"].isin(["p000", "p101"]) & (
        pd.to_datetime(known["order_date"]) >= pd.Timestamp("2024-05-01")
    )
    rest = known[~gone]
    assert rest["product_id"].eq("p000").any()
    for scorer in (model, None):
        found = prepare(spec, scorer, rest, PRODUCTS, CUSTOMERS, DAY).recommend(CUSTOMERS, rest)
        assert not found["product_id"].isin(["p000", "p101"]).any()
        longer = spec.model_copy(update={"sold_within_days": 200})
        found = prepare(longer, scorer, rest, PRODUCTS, CUSTOMERS, DAY).recommend(CUSTOMERS, rest)
        assert found["product_id"].isin(["p000", "p101"]).any()


def test_a_customer_gets_the_same_alone_and_in_a_batch(
    recommender: Recommender, lists: pd.DataFrame, known: pd.DataFrame
) -> None:
    for customer in ("c0000", "c0033", "c0119"):
        own = known[known["customer_id"] == customer]
        alone = recommender.recommend(CUSTOMERS[CUSTOMERS["customer_id"] == customer], own)
        together = lists[lists["customer_id"] == customer].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, together, check_exact=True)


def test_a_later_day_sees_more_of_a_customer_and_nothing_more_of_products(
    recommender: Recommender, known: pd.DataFrame, lists: pd.DataFrame
) -> None:
    later = DAY + pd.Timedelta(days=3)
    one = CUSTOMERS.head(1)
    (name,) = one["customer_id"]
    never_bought = lists.loc[(lists["customer_id"] == name) & (lists["list"] == "discover"), "product_id"].iloc[0]
    bought_since = known[known["customer_id"] == name].tail(1).assign(order_date=DAY, product_id=never_bought)
    seen = pd.concat([known, bought_since])
    found = recommender.on(later).recommend(one, seen)
    assert never_bought in set(found.loc[found["list"] == "buy_again", "product_id"])
    assert f"on {DAY.date()}" in found.set_index("product_id").loc[never_bought, "reason"]
    # As of the day itself it is not seen; and the others, bought since or not, change nothing.
    pd.testing.assert_frame_equal(recommender.recommend(one, seen), recommender.recommend(one, known))
    everybody = recommender.on(later).recommend(CUSTOMERS, pd.concat([seen, bought(("n9", never_bought, 240))]))
    pd.testing.assert_frame_equal(everybody[everybody["customer_id"] == name].reset_index(drop=True), found)
    with pytest.raises(ValueError, match=r"an item side of .* a later day"):
        recommender.on(DAY - pd.Timedelta(days=1))


def test_order_of_rows_threads_and_later_purchases_make_no_difference(
    spec: RecommendationSpecification, model: RecommendationModel, purchases: pd.DataFrame, lists: pd.DataFrame
) -> None:
    shuffled = purchases.sample(frac=1, random_state=1)
    products, customers = PRODUCTS.sample(frac=1, random_state=2), CUSTOMERS.sample(frac=1, random_state=3)
    again = RecommendationModel(spec, threads=2).fit(shuffled, products, DAY)
    assert again.text() == model.text()
    found = prepare(spec, again, shuffled, products, customers, DAY).recommend(customers, shuffled)
    pd.testing.assert_frame_equal(found, lists, check_exact=True)


def test_the_artefact_is_the_model(
    spec: RecommendationSpecification, model: RecommendationModel, known: pd.DataFrame, lists: pd.DataFrame
) -> None:
    text = model.text()
    read = RecommendationModel.from_text(text, sha256_of(text))
    assert read.text() == text and read.specification == spec and read.cut_offs_ == model.cut_offs_
    found = prepare(spec, read, known, PRODUCTS, CUSTOMERS, DAY).recommend(CUSTOMERS, known)
    pd.testing.assert_frame_equal(found, lists, check_exact=True)
    with pytest.raises(ArtefactError, match="not what was recorded"):
        RecommendationModel.from_text(text[:-9], sha256_of(text))
    other = text.replace(b'"visits_with"', b'"visits_wish"')
    with pytest.raises(ArtefactError, match="not a model of this version"):
        RecommendationModel.from_text(other, sha256_of(other))


def test_it_learns_what_was_bought_lately_and_with_whom(
    model: RecommendationModel, lists: pd.DataFrame, purchases: pd.DataFrame
) -> None:
    """Of the first five to discover, most are of the customer's own taste, one of five."""
    new = lists[(lists["list"] == "discover") & (lists["list_rank"] <= 5)]
    taste = new["customer_id"].str[1:].astype(int) % 5
    assert (new["product_id"].str[1].astype(int) == taste).mean() > 0.6
    assert list(model.importance_) and set(model.importance_) == set(FEATURES)


def test_without_a_ranker_the_lists_say_so(spec: RecommendationSpecification, known: pd.DataFrame) -> None:
    found = prepare(spec, None, known, PRODUCTS, CUSTOMERS, DAY).recommend(CUSTOMERS, known)
    assert set(found.loc[found["list"] == "buy_again", "method"]) == {"personal_frequency"}
    discover = found[found["list"] == "discover"]
    assert set(discover["method"]) == {"popularity"} and set(discover["reason"]) == {"popular with all customers"}
    one = found[(found["customer_id"] == "c0004") & (found["list"] == "buy_again")]
    own = known[(known["customer_id"] == "c0004") & ~known["product_id"].str.startswith("fuel")]
    visits = own.groupby("product_id")["order_date"].nunique()
    assert one["score"].to_numpy() == pytest.approx(visits[one["product_id"]] / own["order_date"].nunique(), abs=1e-6)


def test_little_history_falls_back_on_the_segment_and_then_on_everybody(
    spec: RecommendationSpecification, model: RecommendationModel, known: pd.DataFrame
) -> None:
    newcomers = pd.DataFrame(
        {"customer_id": ["n1", "n2", "n3", "n4"], "segment": ["taste 1", None, "nobody else", "taste 1"]}
    )
    everybody, purchases = pd.concat([CUSTOMERS, newcomers]), pd.concat([known, bought(("n4", "p200", 230))])
    made = prepare(spec, model, purchases, PRODUCTS, everybody, DAY)
    found = made.recommend(newcomers, purchases)
    by_customer = dict(list(found.groupby("customer_id")))
    for name in ("n2", "n3"):
        assert set(by_customer[name]["method"]) == {"popularity"}
        assert set(by_customer[name]["reason"]) == {"popular with all customers"}
    first = by_customer["n1"]
    assert first["rank"].tolist() == first["list_rank"].tolist() == list(range(1, 11))
    of_segment = first["method"] == "segment_popularity"
    assert of_segment[:5].all() and set(first.loc[of_segment, "reason"]) == {"popular in segment taste 1"}
    assert first["product_id"][:5].str.startswith("p1").all()
    assert not by_customer["n2"]["product_id"][:5].str.startswith("p1").all()
    again = by_customer["n4"].iloc[0]
    assert (again["product_id"], again["method"], again["list"]) == ("p200", "personal_frequency", "buy_again")
    assert again["reason"] == f"bought on 1 of 1 visit, on {days_ago(10)}" and again["score"] == 1
    # Two visits are enough for the ranker.
    more = pd.concat([purchases, bought(("n4", "p200", 220))])
    assert set(made.recommend(newcomers.tail(1), more)["method"]) == {"ranker"}


def test_reasons_tell_the_rhythm(spec: RecommendationSpecification, known: pd.DataFrame) -> None:
    """On five of twelve visits, every 14 days; fuel alone is no visit, nor is a second order on the same day one."""
    rows = [("n1", "p000", day) for day in (168, 182, 196, 210, 224)] + [("n1", "p001", 224), ("n1", "p002", 239)]
    rows += [("n1", "p003", 100 + day) for day in range(6)] + [("n1", "fuel1", 90), ("n1", "p000", 224)]
    theirs, customer = bought(*rows), pd.DataFrame({"customer_id": ["n1"], "segment": [None]})
    found = prepare(spec, None, pd.concat([known, theirs]), PRODUCTS, customer, DAY).recommend(customer, theirs)
    reason = found[found["list"] == "buy_again"].set_index("product_id")["reason"]
    assert reason["p000"] == f"bought on 5 of 12 visits, usually every 14 days, last on {days_ago(16)}"
    assert reason["p001"] == f"bought on 1 of 12 visits, on {days_ago(16)}"
    assert reason["p002"] == f"bought on 1 of 12 visits, on {days_ago(1)}"
    assert reason["p003"] == f"bought on 6 of 12 visits, usually every 1 day, last on {days_ago(135)}"


def test_rules_put_products_forward_and_are_the_reason(
    spec: RecommendationSpecification, model: RecommendationModel, known: pd.DataFrame
) -> None:
    """A product that only the rule knows: nobody of the customer's taste bought it, and it is rare."""
    rare = known[(known["product_id"] != "p415") | (pd.to_datetime(known["order_date"]) >= pd.Timestamp("2024-08-20"))]
    customer = CUSTOMERS[CUSTOMERS["customer_id"] == "c0000"]
    own = rare[rare["customer_id"] == "c0000"]
    antecedent = str(own.groupby("product_id").size().idxmax())
    rules = pd.DataFrame(
        [(antecedent, "p415", 0.4, 3.0), (antecedent, "p414", 0.4, 0.9), (antecedent, "no such", 0.4, 3.0)],
        columns=["antecedent", "consequent", "confidence", "lift"],
    )
    wide = spec.model_copy(update={"list_length": 100, "max_per_category": None})

    def lists_with(given: pd.DataFrame | None) -> "pd.Series[str]":
        made = prepare(wide, model, rare, PRODUCTS, CUSTOMERS, DAY, given).recommend(customer, own)
        return made[made["is_new_to_customer"]].set_index("product_id")["reason"]

    with_rules, without = lists_with(rules), lists_with(None)
    name = str(PRODUCTS.set_index("product_id").loc[antecedent, "product_name"])
    assert with_rules["p415"] == f"customers who buy {name} often buy this" and "p415" not in without
    pd.testing.assert_series_equal(with_rules.drop("p415"), without)
    for empty in (rules.head(0), rules.tail(2)):
        pd.testing.assert_series_equal(lists_with(empty), without)


def test_reasons_of_discoveries_name_what_the_customer_buys(lists: pd.DataFrame, known: pd.DataFrame) -> None:
    names = PRODUCTS.set_index("product_id")["product_name"]
    named = lists["reason"].str.extract(r"^customers who buy (.*) often buy this$|^often bought together with (.*)$")
    name = named[0].fillna(named[1])
    told = lists[name.notna()].assign(name=name[name.notna()])
    assert len(told) > 100 and set(told["list"]) == {"discover"}
    own = set(zip(known["customer_id"], known["product_id"].map(names), strict=True))
    assert set(zip(told["customer_id"], told["name"], strict=True)) <= own
    assert not lists["reason"].str.contains(r"c\d{4}").any()


FEW: dict[str, Callable[[], pd.DataFrame]] = {
    "nothing": lambda: bought(),
    "one customer, one order": lambda: bought(("c0001", "p000", 239), ("c0001", "p001", 239)),
    "no product bought twice": lambda: bought(
        *((f"c{number:04d}", f"p{number % 5}{number % 16:02d}", 100 + number) for number in range(80))
    ),
    "bought by everybody": lambda: bought(
        *((f"c{n:04d}", "p000", day) for n in range(100) for day in range(9, 239, 23))
    ),
    "one item a basket": lambda: bought(
        *((f"c{n:04d}", f"p0{(n + day) % 16:02d}", day) for n in range(40) for day in range(9, 239, 10))
    ),
    "unknown products": lambda: bought(*((f"c{n:04d}", "p999", day) for n in range(40) for day in range(9, 239, 10))),
    "fuel alone": lambda: bought(*((f"c{n:04d}", "fuel1", day) for n in range(40) for day in range(9, 239, 10))),
}


@pytest.mark.parametrize("few", FEW)
def test_few_data_give_defined_lists(spec: RecommendationSpecification, model: RecommendationModel, few: str) -> None:
    rows = FEW[few]()
    sold = set(rows.loc[pd.to_datetime(rows["order_date"]) >= DAY - pd.Timedelta(days=84), "product_id"])
    sold &= set(PRODUCTS["product_id"]) - {"fuel1"}
    for scorer in (model, None):
        found = prepare(spec, scorer, rows, PRODUCTS, CUSTOMERS, DAY).recommend(CUSTOMERS, rows)
        assert list(found.columns) == list(COLUMNS) and set(found["product_id"]) <= sold
        assert set(found["method"]) <= set(METHODS) and np.isfinite(found["score"]).all()
        assert set(found["customer_id"]) == (set(CUSTOMERS["customer_id"]) if sold else set())
        nobody = prepare(spec, scorer, rows, PRODUCTS, CUSTOMERS.head(0), DAY).recommend(CUSTOMERS.head(0), rows)
        assert nobody.empty and list(nobody.columns) == list(COLUMNS)


@pytest.mark.parametrize("few", ["nothing", "one customer, one order", "unknown products", "fuel alone"])
def test_what_cannot_be_learned_from_says_so(spec: RecommendationSpecification, few: str) -> None:
    with pytest.raises(TooLittleDataError, match="recommendations: "):
        RecommendationModel(spec).fit(FEW[few](), PRODUCTS, DAY)


def test_errors_say_what_is_wrong(
    spec: RecommendationSpecification, recommender: Recommender, known: pd.DataFrame
) -> None:
    def refused(message: str, call: Callable[[], Any]) -> None:
        with pytest.raises(ValueError, match=message):
            call()

    fit = RecommendationModel(spec).fit
    refused("no column quantity", lambda: fit(known.drop(columns="quantity"), PRODUCTS, DAY))
    refused("no column category", lambda: fit(known, PRODUCTS.drop(columns="category"), DAY))
    refused("'p000' names several", lambda: fit(known, pd.concat([PRODUCTS, PRODUCTS.head(1)]), DAY))
    holes = known.assign(net_sales=known["net_sales"].where(known["product_id"] != "p000"))
    refused("values of net_sales are NULL or infinite", lambda: fit(holes, PRODUCTS, DAY))
    refused("no column segment", lambda: recommender.recommend(CUSTOMERS[["customer_id"]], known))
    twice = pd.concat([CUSTOMERS, CUSTOMERS.head(1)])
    refused("customer_id must name one row", lambda: recommender.recommend(twice, known))
    rules = pd.DataFrame({"antecedent": ["p000"], "consequent": ["p001"], "confidence": [np.nan], "lift": [2.0]})
    refused(
        "confidence and lift of rules must be finite",
        lambda: prepare(spec, None, known, PRODUCTS, CUSTOMERS, DAY, rules),
    )
