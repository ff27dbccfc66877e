"""Lists that are taken over from the day before: the same as if all were made, and made anew where anything differs."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from ml.artefact import sha256_of
from ml.recommendation_items import Affinities
from ml.recommender import RecommendationModel, Recommender
from orchestration.models import Recommendations
from orchestration.resources.registry import RegisteredModel
from orchestration.scores import write_scores
from tests.unit.ml.recommendation_frames import (
    make_customers,
    make_products,
    make_purchases,
    make_recommendation_specification,
)

# Products are looked at on Sundays.
SUNDAY = date(2024, 8, 25)
MONDAY, TUESDAY, NEXT_SUNDAY = (SUNDAY + timedelta(days=days) for days in (1, 2, 7))
TABLES = """
    create schema core; create schema features; create schema scores;
    create table core.products as from products;
    create table features.order_products as
        select customer_id, order_id, product_id, order_date, quantity::decimal(18, 3) as units,
            net_sales::decimal(18, 2) as net_sales
        from purchases where product_id[:4] != 'fuel';
    create table features.association_searches as select date '2024-08-25' as as_of_date;
    create table features.association_rules as
        select date '2024-08-25' as as_of_date, 'product' as level, 'p001' as antecedent_1, null as antecedent_2,
            'p101' as consequent, 0.5 as confidence, 2.0 as lift;
    create table features.customer_order_metrics as
        select customer_id, as_of_date from customers cross join
            (select unnest(range(date '2024-08-25', date '2024-09-02', interval 1 day))::date as as_of_date);
    create table scores.segments as
        select customer_id, as_of_date as refresh_date, segment as segment_label
        from customers inner join features.customer_order_metrics using (customer_id);
    -- Who bought once only gets what is popular.
    insert into core.products values ('px', 'X', 'house', 'D0', 'C0', 'S0');
    insert into features.order_products values ('c0000', 'once', 'px', date '2024-08-01', 1, 1);
    delete from features.order_products where customer_id = 'c0000' and order_id != 'once';
"""


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    products, purchases, customers = make_products(), make_purchases(), make_customers()
    with duckdb.connect() as made:
        for name, frame in (("products", products), ("purchases", purchases), ("customers", customers)):
            made.register(name, frame)
        made.execute(TABLES)
        yield made


@pytest.fixture(scope="module")
def scorer() -> RegisteredModel:
    """A ranker, as the registry has it."""
    return ranker(make_purchases())


def ranker(purchases: pd.DataFrame) -> RegisteredModel:
    made = RecommendationModel(make_recommendation_specification(), threads=1)
    content = made.fit(purchases, make_products(), SUNDAY).text()
    return RegisteredModel("1", SUNDAY, sha256_of(content), content)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The customers whose lists are made."""
    found: list[str] = []
    recommend = Recommender.recommend

    def noted(self: Recommender, customers: pd.DataFrame, purchases: pd.DataFrame) -> pd.DataFrame:
        found.extend(customers["customer_id"])
        return recommend(self, customers, purchases)

    monkeypatch.setattr(Recommender, "recommend", noted)
    return found


def lists(
    connection: duckdb.DuckDBPyConnection, scorer: RegisteredModel | None, day: date, folder: Path
) -> pd.DataFrame:
    """A day's lists, as they are written."""
    model = Recommendations(1, folder, folder / "fits")
    write_scores(connection, model.name, model.name, day, model.score(connection, day, scorer), folder)
    return connection.execute(f"select * from '{folder}/recommendations/{day}.*.parquet' order by all").df()


def bought_since(connection: duckdb.DuckDBPyConnection, day: date) -> set[str]:
    rows = connection.execute(
        "select distinct customer_id from features.order_products where order_date >= ? and order_date < ?",
        [day - timedelta(days=1), day],
    ).fetchall()
    return {customer for (customer,) in rows}


def test_a_list_taken_over_is_the_one_that_would_be_made(
    connection: duckdb.DuckDBPyConnection, scorer: RegisteredModel, asked: list[str], tmp_path: Path
) -> None:
    lists(connection, scorer, MONDAY, tmp_path / "daily")
    assert len(asked) == len(set(asked)) == 120
    asked.clear()
    daily = lists(connection, scorer, TUESDAY, tmp_path / "daily")
    # Who bought on Monday, and the one who gets what is popular.
    assert 0 < len(asked) < 40 and set(asked) == bought_since(connection, TUESDAY) | {"c0000"}
    pd.testing.assert_frame_equal(daily, lists(connection, scorer, TUESDAY, tmp_path / "at_once"))
    assert daily["customer_id"].nunique() == 120
    listed_on = daily.groupby("customer_id")["listed_on"].first().dt.date
    assert set(listed_on) == {SUNDAY, MONDAY, TUESDAY}
    assert set(listed_on[listed_on == TUESDAY].index) == bought_since(connection, TUESDAY)
    assert set(daily.loc[daily["input_fingerprint"].isna(), "customer_id"]) == {"c0000"}
    # The same day again makes the same of nothing.
    asked.clear()
    pd.testing.assert_frame_equal(daily, lists(connection, scorer, TUESDAY, tmp_path / "daily"))
    assert set(asked) == {"c0000"}


def test_on_the_grid_all_are_made(
    connection: duckdb.DuckDBPyConnection, scorer: RegisteredModel, asked: list[str], tmp_path: Path
) -> None:
    lists(connection, scorer, MONDAY, tmp_path)
    asked.clear()
    assert set(lists(connection, scorer, NEXT_SUNDAY, tmp_path)["listed_on"].dt.date) == {NEXT_SUNDAY}
    assert len(asked) == 120


def test_which_products_go_together_is_found_once(
    connection: duckdb.DuckDBPyConnection, scorer: RegisteredModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found: list[int] = []
    find = Affinities.of

    def noted(*given: Any) -> Affinities:
        found.append(given[-1])
        return find(*given)

    monkeypatch.setattr(Affinities, "of", noted)
    for day in (MONDAY, TUESDAY, NEXT_SUNDAY - timedelta(days=1)):
        lists(connection, scorer, day, tmp_path)
    assert len(found) == 1
    (kept,) = (tmp_path / "fits").iterdir()
    content = kept.read_bytes()
    kept.write_bytes(content[:-100])
    lists(connection, scorer, TUESDAY, tmp_path)
    assert len(found) == 2 and kept.read_bytes() == content, "a damaged one is made again"
    lists(connection, scorer, NEXT_SUNDAY, tmp_path)
    assert len(found) == 3 and len(set(found)) == 2


def test_a_late_purchase_touches_one_customer(
    connection: duckdb.DuckDBPyConnection, scorer: RegisteredModel, asked: list[str], tmp_path: Path
) -> None:
    # It is of a week that products were not looked at in: what all have in common stays.
    lists(connection, scorer, TUESDAY, tmp_path / "daily")
    connection.execute("insert into features.order_products values ('c0001', 'late', 'p001', ?, 1, 2)", [SUNDAY])
    asked.clear()
    daily = lists(connection, scorer, TUESDAY, tmp_path / "daily")
    assert set(asked) == {"c0000", "c0001"}
    pd.testing.assert_frame_equal(daily, lists(connection, scorer, TUESDAY, tmp_path / "at_once"))


@pytest.mark.parametrize(
    "change",
    [
        "insert into features.order_products values ('c0001', 'late', 'p001', date '2024-08-20', 1, 2)",
        "update core.products set category = 'C9' where product_id = 'p001'",
        "update features.association_rules set confidence = 0.6",
        "ranker",
        "no ranker",
        "damage",
        "no seal",
    ],
)
def test_what_all_are_made_of_makes_all_anew(
    connection: duckdb.DuckDBPyConnection, scorer: RegisteredModel, asked: list[str], tmp_path: Path, change: str
) -> None:
    lists(connection, scorer, MONDAY, tmp_path / "daily")
    path, held = tmp_path / "daily" / "recommendations" / f"{MONDAY}.recommendations.parquet", scorer
    if change == "ranker":
        held = ranker(make_purchases(seed=1))
    elif change in ("damage", "no seal"):
        seal = ", kv_metadata {content_hash: 'another'}" if change == "damage" else ""
        connection.execute(f"create table kept as select * replace (reason || '!' as reason) from '{path}'")
        connection.execute(f"copy kept to '{path}' (format parquet{seal})")
    elif change != "no ranker":
        connection.execute(change)
    asked.clear()
    daily = lists(connection, None if change == "no ranker" else held, TUESDAY, tmp_path / "daily")
    assert len(asked) == 120
    at_once = lists(connection, None if change == "no ranker" else held, TUESDAY, tmp_path / "at_once")
    pd.testing.assert_frame_equal(daily, at_once)


def test_a_file_that_is_none_is_made_anew(
    connection: duckdb.DuckDBPyConnection, scorer: RegisteredModel, asked: list[str], tmp_path: Path
) -> None:
    lists(connection, scorer, MONDAY, tmp_path)
    (tmp_path / "recommendations" / f"{MONDAY}.recommendations.parquet").write_bytes(b"PAR1 not any more PAR1")
    asked.clear()
    assert len(lists(connection, scorer, TUESDAY, tmp_path)) and len(asked) == 120
