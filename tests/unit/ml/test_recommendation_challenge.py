"""The challenge in recommendations: metrics by hand, nothing of the windows seen, the gate and its mutants."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.artefact import sha256_of
from ml.decision import PERFORMANCE_COLUMNS
from ml.evaluation import Interval
from ml.recommendation_candidates import FEATURES, SOURCES, Candidates, Pairs
from ml.recommendation_challenge import (
    GATE,
    WITHOUT_LIMIT,
    backtest,
    challenge_recommendations,
    decide_recommendations,
)
from ml.recommendation_evaluation import TOP, Judged, per_customer, top_rows
from ml.recommendation_examples import Examples, Lesson
from ml.recommendation_history import Catalogue, Purchases
from ml.recommendation_lists import make_lists
from ml.recommendation_specification import RecommendationSpecification, closed_cut_offs
from ml.recommender import RecommendationModel
from tests.unit.ml.recommendation_frames import (
    FIRST,
    SMALL,
    bought,
    make_products,
    make_purchases,
    make_recommendation_specification,
)

DAY = FIRST + pd.Timedelta(days=260)
PRODUCTS = make_products()


@pytest.fixture(scope="module")
def spec() -> RecommendationSpecification:
    return make_recommendation_specification()


@pytest.fixture(scope="module")
def purchases() -> pd.DataFrame:
    return make_purchases()


def make_examples(
    spec: RecommendationSpecification, frame: pd.DataFrame, time: pd.Timestamp, customers: int = 1000
) -> Examples:
    catalogue = Catalogue.of(spec, PRODUCTS)
    return Examples.of(spec, catalogue, Purchases.of(spec, catalogue, frame, DAY), time, customers)


@pytest.fixture(scope="module")
def examples(spec: RecommendationSpecification, purchases: pd.DataFrame) -> Examples:
    return make_examples(spec, purchases, DAY - pd.Timedelta(days=28))


def feature(examples: Examples, name: str) -> Any:
    return examples.features[:, FEATURES.index(name)].astype(np.float64)


def test_features_against_pandas(
    spec: RecommendationSpecification, examples: Examples, purchases: pd.DataFrame
) -> None:
    """The rhythm, the customer and the affinity of every candidate, computed anew from the rows."""
    rows, ids = examples.rows, examples.items.catalogue.ids
    known = purchases.assign(day=pd.to_datetime(purchases["order_date"])).merge(PRODUCTS, on="product_id")
    known = known[(known["day"] < examples.time) & (known["department"] != "FUEL")]
    known["ago"] = (examples.time - known["day"]).dt.days
    known = known.drop_duplicates(["customer_id", "product_id", "day"])
    keys = pd.DataFrame(
        {
            "customer_id": examples.theirs.customer_ids.to_numpy()[rows.customer],
            "product_id": ids.to_numpy()[rows.product],
        }
    )
    grouped = known.assign(faded=0.5 ** (known["ago"] / 28)).groupby(["customer_id", "product_id"])
    pairs = grouped.agg(n=("ago", "size"), last=("ago", "min"), first=("ago", "max"), faded=("faded", "sum"))
    found = keys.join(pairs, on=["customer_id", "product_id"])
    assert (rows.is_new == found["n"].isna()).all() and 0 < rows.is_new.sum() < len(rows)
    for name, column in (("visits_with", "n"), ("days_since", "last"), ("days_since_first", "first")):
        np.testing.assert_allclose(feature(examples, name), found[column])
    np.testing.assert_allclose(feature(examples, "faded_28"), found["faded"], rtol=1e-5)

    visits = known.drop_duplicates(["customer_id", "day"])
    total = visits.groupby("customer_id").size()
    np.testing.assert_allclose(feature(examples, "visits"), keys["customer_id"].map(total))
    row = int(np.flatnonzero(~rows.is_new)[7])
    own = visits[visits["customer_id"] == keys["customer_id"][row]]
    since = int((own["ago"] < found["last"][row]).sum())
    assert feature(examples, "visits_since")[row] == since
    share = found["n"][row] / (own["ago"] <= found["first"][row]).sum()
    assert feature(examples, "visit_share")[row] == pytest.approx(share)

    weight = known.assign(weight=0.5 ** (known["ago"] / 112))
    by_group = weight.groupby(["customer_id", "subcategory"])["weight"].sum()
    by_group = by_group / weight.groupby("customer_id")["weight"].sum()
    group = keys.merge(PRODUCTS, on="product_id", how="left")[["customer_id", "subcategory"]]
    wanted = group.join(by_group.rename("share"), on=["customer_id", "subcategory"])["share"].fillna(0)
    np.testing.assert_allclose(feature(examples, "subcategory_share"), wanted, rtol=1e-5, atol=1e-7)


def test_neighbours_against_the_cosine_of_all_pairs(examples: Examples, purchases: pd.DataFrame) -> None:
    """Baskets of the last 112 days: the kept neighbours are the nearest, with their cosine."""
    items = examples.items
    rows = purchases.assign(day=pd.to_datetime(purchases["order_date"]))
    rows = rows[(rows["day"] < examples.time) & (rows["day"] >= examples.time - pd.Timedelta(days=112))]
    rows = rows[rows["product_id"] != "fuel1"].drop_duplicates(["customer_id", "day", "product_id"])
    baskets = pd.crosstab([rows["customer_id"], rows["day"]], rows["product_id"])
    baskets = baskets.loc[:, baskets.sum() >= SMALL.min_buyers]
    unit = baskets / np.sqrt((baskets**2).sum())
    cosine = unit.T @ unit
    for product in ("p000", "p307"):
        nearest = cosine[product].drop(product).nlargest(SMALL.neighbours)
        kept = items.affinities.together[[items.catalogue.ids.get_loc(product)]].toarray()[0]
        assert (kept > 0).sum() == SMALL.neighbours
        assert np.sort(kept[kept > 0])[::-1] == pytest.approx(nearest.to_numpy())
        named = pd.Series(kept, index=items.catalogue.ids)[nearest.index]
        assert named.to_numpy()[:3] == pytest.approx(nearest.to_numpy()[:3])


def test_nothing_of_a_window_is_in_its_features(
    spec: RecommendationSpecification, examples: Examples, purchases: pd.DataFrame
) -> None:
    """Other purchases in the window, of the same customers: other labels, the same candidates and features."""
    days = pd.to_datetime(purchases["order_date"])
    coming = purchases[days >= examples.time]
    changed = pd.concat([purchases[days < examples.time], coming.assign(product_id="p000", net_sales=99.0)])
    other = make_examples(spec, changed, examples.time)
    assert other.theirs.customer_ids.equals(examples.theirs.customer_ids)
    np.testing.assert_array_equal(other.rows.product, examples.rows.product)
    np.testing.assert_array_equal(other.features, examples.features)
    assert other.was_bought.sum() != examples.was_bought.sum()


def test_labels_are_what_was_bought_in_the_window(examples: Examples, purchases: pd.DataFrame) -> None:
    days = pd.to_datetime(purchases["order_date"])
    coming = purchases[(days >= examples.time) & (days < examples.time + pd.Timedelta(days=28))]
    coming = coming[coming["product_id"] != "fuel1"].drop_duplicates(["customer_id", "product_id"])
    truth = set(zip(coming["customer_id"], coming["product_id"], strict=True))
    names = examples.theirs.customer_ids.to_numpy()[examples.rows.customer]
    products = examples.items.catalogue.ids.to_numpy()[examples.rows.product]
    assert [pair in truth for pair in zip(names, products, strict=True)] == examples.was_bought.tolist()
    assert examples.bought.tolist() == coming.groupby("customer_id").size().tolist()
    known = set(
        zip(purchases["customer_id"][days < examples.time], purchases["product_id"][days < examples.time], strict=True)
    )
    new = pd.Series([customer for customer, product in truth if (customer, product) not in known]).value_counts()
    expected = [int(new.get(customer, 0)) for customer in examples.theirs.customer_ids]
    assert examples.bought_new.tolist() == expected


def test_fewer_customers_are_some_of_more(
    spec: RecommendationSpecification, examples: Examples, purchases: pd.DataFrame
) -> None:
    """What the drawn customers teach does not depend on how many others were looked at."""
    few = spec.model_copy(update={"parameters": SMALL.model_copy(update={"teaching_customers": 20})})
    alone, among = make_examples(few, purchases, examples.time, 20), make_examples(few, purchases, examples.time, 90)
    assert len(alone.turn) == 20 and len(among.turn) == 90
    one, other = Lesson.of(few, alone), Lesson.of(few, among)
    np.testing.assert_array_equal(one.features, other.features)
    np.testing.assert_array_equal(one.was_bought, other.was_bought)
    assert 0 < one.was_bought.sum() == alone.was_bought.sum()


def by_hand(examples: Examples) -> Examples:
    """Two customers: of products 0 to 11 the first bought 0, 2 and 20 others; the second bought one that is new."""
    rows = Candidates(
        customer=np.r_[np.zeros(12, dtype=np.int64), np.ones(3, dtype=np.int64)],
        product=np.r_[np.arange(12), np.arange(3)],
        is_new=np.r_[np.zeros(12, dtype=bool), np.ones(3, dtype=bool)],
        scores=np.zeros((15, len(SOURCES))),
        pair=np.r_[np.arange(12), np.full(3, -1)],
    )
    was_bought = np.zeros(15, dtype=bool)
    was_bought[[0, 2, 11, 13]] = True
    return replace(examples, rows=rows, was_bought=was_bought, bought=np.array([22, 1]), bought_new=np.array([0, 1]))


def test_metrics_of_a_case_by_hand(examples: Examples) -> None:
    """Customer 0 is shown 0 to 9 in order: hits at 1 and 3, of ten at best. Customer 1: the hit is second, of one."""
    case = by_hand(examples)
    scores = np.r_[-np.arange(12.0), -np.arange(3.0)]
    row, rank = top_rows(case.rows, scores)
    assert len(row) == 13 and rank.max() == TOP
    found = per_customer(case, row, rank)
    ideal = sum(1 / math.log2(place + 1) for place in range(1, 11))
    assert found["recall_10"].tolist() == pytest.approx([2 / 10, 1])
    assert found["ndcg_10"].tolist() == pytest.approx([(1 + 1 / 2) / ideal, 1 / math.log2(3)])
    assert found["hit_rate_10"].tolist() == [1, 1]
    new = per_customer(case, *top_rows(case.rows, scores, only_new=True), only_new=True)
    assert math.isnan(new["recall_10_new"][0]) and new["recall_10_new"][1] == 1
    silent = np.where(case.rows.is_new, -np.inf, scores)
    assert per_customer(case, *top_rows(case.rows, silent))["hit_rate_10"].tolist() == [1, 0]


def test_a_limit_per_category_keeps_the_best_of_each(spec: RecommendationSpecification, examples: Examples) -> None:
    case, category = by_hand(examples).rows, np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
    short = spec.model_copy(update={"max_per_category": 2, "list_length": 5})
    made = make_lists(short, case, np.r_[-np.arange(12.0), 3.0, 2.0, 1.0], category)
    assert case.product[made.row].tolist() == [0, 1, 3, 4, 6, 0, 1]
    assert made.rank.tolist() == made.list_rank.tolist() == [1, 2, 3, 4, 5, 1, 2]
    unlimited = make_lists(short, case, np.zeros(15), category, capped=False)
    assert case.product[unlimited.row].tolist() == [0, 1, 2, 3, 4, 0, 1, 2]


def test_an_advantage_is_paired_and_by_customer() -> None:
    generator = np.random.default_rng(0)
    base = generator.random(200)
    values = {"one": {"recall_10": base + 0.01}, "other": {"recall_10": base}}
    customer = np.repeat([f"c{number}" for number in range(100)], 2).astype(object)
    judged = Judged(customer, np.full(200, "2024-01-01", dtype=object), values, {"one": {}, "other": {}}, 0)
    found = judged.advantage("other", "recall_10", ours="one")
    assert (found.lower, found.estimate, found.upper) == pytest.approx((0.01, 0.01, 0.01))
    assert judged.mean("one", "recall_10").lower < base.mean() < judged.mean("one", "recall_10").upper
    wide = replace(judged, customer=np.arange(200).astype(object)).mean("other", "recall_10")
    assert wide.is_finite and judged.mean("other", "recall_10") != wide


BETTER, WORSE, NAN = Interval(0.02, 0.01, 0.03), Interval(-0.02, -0.03, -0.01), Interval(math.nan, math.nan, math.nan)
ALL_BETTER = dict.fromkeys(GATE, BETTER)


def test_a_better_one_is_promoted(spec: RecommendationSpecification) -> None:
    made = decide_recommendations(spec, 500, ALL_BETTER)
    assert made.promote and made.scores == "challenger" and len(made.reasons) == 2 + len(GATE)
    assert decide_recommendations(spec, 500, ALL_BETTER, True, Interval(-0.01, -0.02, 0.0)).promote
    assert decide_recommendations(spec, 500, ALL_BETTER, True, None, "it looks 7 days ahead").promote


@pytest.mark.parametrize("pair", GATE)
@pytest.mark.parametrize("found", [Interval(0.01, 0.0, 0.02), WORSE, NAN, None])
def test_each_baseline_must_be_beaten(
    spec: RecommendationSpecification, pair: tuple[str, str], found: Interval | None
) -> None:
    advantages = {key: value for key, value in {**ALL_BETTER, pair: found}.items() if value is not None}
    made = decide_recommendations(spec, 500, advantages)
    assert not made.promote and made.scores == "nobody"
    assert len(made.reasons) == 2 and pair[0] in made.reasons[0]
    assert "the lists are those of the baselines" in made.reasons[1]
    assert decide_recommendations(spec, 500, advantages, True, BETTER).scores == "champion"


def test_mutants_of_the_gate(spec: RecommendationSpecification) -> None:
    few = decide_recommendations(spec, spec.min_judged - 1, ALL_BETTER)
    assert not few.promote and "needed are 30" in few.reasons[0]
    for over, text in ((WORSE, "worse than the champion"), (NAN, "could not be measured"), (None, "could not be")):
        made = decide_recommendations(spec, 500, ALL_BETTER, True, over)
        assert not made.promote and made.scores == "champion" and text in made.reasons[0]


@pytest.fixture(scope="module")
def challenge(spec: RecommendationSpecification, purchases: pd.DataFrame) -> Any:
    return challenge_recommendations(spec, purchases, PRODUCTS, DAY, None, 1)


def test_the_ranker_wins_where_there_is_something_to_learn(challenge: Any) -> None:
    assert challenge.decision.promote and challenge.decision.scores == "challenger", challenge.decision.reasons
    table = challenge.performance
    assert list(table.columns) == list(PERFORMANCE_COLUMNS) and not table.duplicated(["name", "metric"]).any()
    assert set(table["role"]) == {"challenger", "baseline"} and WITHOUT_LIMIT not in set(table["name"])
    assert set(table["split"]) == {"hold_out"}
    assert str(table["split_start"].iloc[0]) == "2024-05-28" and str(table["split_end"].iloc[0]) == "2024-09-16"
    value = table.set_index(["name", "metric"])["value"]
    assert (
        value["challenger", "recall_10"] > value["personal_frequency", "recall_10"] > value["popularity", "recall_10"]
    )
    assert value["challenger", "recall_10_new"] > value["popularity", "recall_10_new"] > 0
    assert 0 < value["popularity", "coverage_10"] < value["challenger", "coverage_10"] <= 1
    assert value["popularity", "novelty_10"] < value["challenger", "novelty_10"]
    assert ("personal_frequency", "recall_10_new") not in value.index
    assert challenge.pictures["rankings"].startswith(b"\x89PNG")
    assert "# Model card: recommendations" in challenge.card and "Gate: promoted" in challenge.card
    assert sha256_of(challenge.artefact) in challenge.card


def test_the_artefact_is_that_of_a_fit_on_the_day(
    spec: RecommendationSpecification, purchases: pd.DataFrame, challenge: Any
) -> None:
    assert RecommendationModel(spec, 1).fit(purchases, PRODUCTS, DAY).text() == challenge.artefact
    read = RecommendationModel.from_text(challenge.artefact, sha256_of(challenge.artefact))
    assert read.cut_offs_ == ["2024-08-20", "2024-07-23", "2024-06-25", "2024-05-28"]


def test_noise_is_not_promoted(spec: RecommendationSpecification) -> None:
    made = challenge_recommendations(spec, make_purchases(at_random=True), PRODUCTS, DAY, None, 1)
    assert not made.decision.promote and made.decision.scores == "nobody" and made.artefact is not None
    assert any("not better than that of the baseline" in reason for reason in made.decision.reasons)


def test_the_champion_is_taught_on_the_same_days(
    spec: RecommendationSpecification, purchases: pd.DataFrame, challenge: Any
) -> None:
    champion = RecommendationModel.from_text(challenge.artefact, sha256_of(challenge.artefact))
    same = challenge_recommendations(spec, purchases, PRODUCTS, DAY, champion, 1)
    value = same.performance.set_index(["name", "metric"])["value"]
    assert value["champion", "recall_10"] == value["challenger", "recall_10"] and same.decision.promote
    assert same.artefact == challenge.artefact
    stunted = spec.model_copy(update={"parameters": SMALL.model_copy(update={"rounds": 1, "feature_fraction": 0.05})})
    champion = RecommendationModel(stunted, 1).fit(purchases, PRODUCTS, DAY)
    other = challenge_recommendations(spec, purchases, PRODUCTS, DAY, champion, 1)
    value = other.performance.set_index(["name", "metric"])["value"]
    assert value["champion", "recall_10"] < value["challenger", "recall_10"] and other.decision.promote
    better = RecommendationModel(spec, 1).fit(purchases, PRODUCTS, DAY)
    worse = challenge_recommendations(stunted, purchases, PRODUCTS, DAY, better, 1)
    assert worse.decision.scores == "champion"
    assert any("worse than the champion" in reason for reason in worse.decision.reasons)
    longer = RecommendationModel(spec.model_copy(update={"window_days": 35}), 1).fit(purchases, PRODUCTS, DAY)
    apart = challenge_recommendations(spec, purchases, PRODUCTS, DAY, longer, 1)
    assert apart.decision.promote and "champion" not in set(apart.performance["name"])
    assert any("looks 35 days ahead, not 28" in reason for reason in apart.decision.reasons)


def test_held_out_windows_begin_where_the_last_one_that_taught_was_over(
    spec: RecommendationSpecification, purchases: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught: list[tuple[list[pd.Timestamp], Any]] = []
    learn = RecommendationModel.learn

    def noted(self: RecommendationModel, lessons: Any, times: Any, as_of: Any) -> RecommendationModel:
        taught.append((list(times), as_of))
        return learn(self, lessons, times, as_of)

    monkeypatch.setattr(RecommendationModel, "learn", noted)
    catalogue = Catalogue.of(spec, PRODUCTS)
    judged, lessons = backtest(spec, catalogue, Purchases.of(spec, catalogue, purchases, DAY), DAY, 1)
    ((times, _),) = taught
    held_out = [pd.Timestamp(time) for time in np.unique(judged.time)]
    window = pd.Timedelta(days=spec.window_days)
    assert len(held_out) == 4 and max(times) + window <= min(held_out)
    assert all(later - earlier >= window for earlier, later in pairwise(held_out))
    assert max(held_out) + window <= DAY and list(lessons) == held_out[::-1]


def test_cut_offs_are_closed_and_have_history(spec: RecommendationSpecification) -> None:
    times = closed_cut_offs(spec, "2024-01-01", "2024-04-01")
    assert [str(time.date()) for time in times] == ["2024-03-04", "2024-02-05"]
    assert closed_cut_offs(spec, "2024-01-01", "2024-02-25") == []
    assert len(closed_cut_offs(spec, "2024-01-01", "2024-02-26")) == 1


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (bought(), "first purchase of a product that may be recommended is of no day, needed are 168 days"),
        (bought(("c0001", "p000", 250)), "needed are 168 days"),
        (bought(*(("c0001", "p000", day) for day in range(0, 250, 9))), "nothing to learn from"),
        (bought(*((f"c{n:04d}", "fuel1", d) for n in range(9) for d in range(0, 250, 9))), "too little history"),
        (bought(("c0001", "p000", 0)).assign(quantity=np.nan), "NULL or infinite"),
    ],
    ids=["nothing", "one order", "one product alone", "fuel alone", "no quantity"],
)
def test_few_data_give_a_decision_without_a_challenger(
    spec: RecommendationSpecification, rows: pd.DataFrame, text: str
) -> None:
    made = challenge_recommendations(spec, rows, PRODUCTS, DAY, None, 1)
    assert not made.decision.promote and made.decision.scores == "nobody" and made.artefact is None
    assert text in made.decision.reasons[0] and made.performance.empty


@pytest.mark.parametrize(
    "rows",
    [
        bought(*((f"c{n:04d}", f"p{n % 5}{(n + d) % 16:02d}", d) for n in range(60) for d in range(n % 9, 260, 250))),
        bought(*((f"c{n:04d}", "p000", d) for n in range(60) for d in range(n % 9, 260, 9))),
        bought(*((f"c{n:04d}", f"p0{(n + d) % 16:02d}", d) for n in range(60) for d in range(n % 9, 260, 9))),
    ],
    ids=["no product bought twice", "bought by everybody", "one item a basket"],
)
def test_poor_data_give_a_decision(spec: RecommendationSpecification, rows: pd.DataFrame) -> None:
    made = challenge_recommendations(spec, rows, PRODUCTS, DAY, None, 1)
    assert made.decision.reasons and (made.artefact is not None or not made.decision.promote)


def test_pairs_of_nobody_are_none() -> None:
    spec = make_recommendation_specification()
    catalogue = Catalogue.of(spec, PRODUCTS)
    assert len(Pairs.of(Purchases.of(spec, catalogue, bought(), DAY), 100).customer) == 0
