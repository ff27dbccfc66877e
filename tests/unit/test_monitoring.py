"""Monitoring of a day on tables made for it: outcomes against pandas and scikit-learn, drift, limits, and the gate."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from orchestration.checks.monitoring import monitoring_suites, read_monitoring
from orchestration.monitoring import MONITORING, WATCHED, evidence, monitor
from orchestration.resources.registry import RegisteredModel
from orchestration.scores import show_scores, write_scores
from orchestration.settings import MODELS, Settings, load_settings

DAY, TRAINED = date(2018, 1, 1), date(2017, 12, 31)
SCORER = RegisteredModel("3", TRAINED, "x", b"")
CUSTOMERS = 600


@dataclass(frozen=True)
class World:
    """A warehouse with outcomes, and scores of earlier days."""

    connection: duckdb.DuckDBPyConnection
    settings: Settings

    def write(self, table: str, day: date, frame: pd.DataFrame, model: str | None = None) -> None:
        write_scores(self.connection, table, model or table, day, [frame], self.settings.scores_dir)

    def look(self, model: str) -> dict[tuple[str, str], dict[str, Any]]:
        """What monitoring finds on the day, but for drift of features."""
        found = monitor(self.connection, model, DAY, SCORER, self.settings)
        rows: list[Any] = found.to_dict("records")
        return {(row["kind"], row["metric"]): row for row in rows if row["kind"] != "feature_drift"}

    def tell(self, model: str, **change: Any) -> None:
        """What was found on the day, written as if all was well, but for a change."""
        row = {"model": model, "kind": "matured", "metric": "roc_auc", "value": 0.8, "status": "ok"}
        limits = {"warn_limit": 0.7, "block_limit": 0.6, "row_count": 600, "compared_with": TRAINED}
        self.write(MONITORING, DAY, pd.DataFrame([row | limits | change]), model)
        show_scores(self.connection, self.settings.scores_dir, DAY)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Customers whose orders of the last three months are known; no features, which need a model."""
    generator = np.random.default_rng(5)
    with duckdb.connect() as connection:
        connection.execute("create schema features")
        orders = pd.DataFrame(
            {
                "customer_id": [f"c{number}" for number in generator.integers(0, CUSTOMERS, 1500)],
                "order_date": [DAY - timedelta(days=int(ago)) for ago in generator.integers(1, 100, 1500)],
                "net_sales": generator.gamma(2, 20, 1500).round(2),
            }
        )
        connection.register("orders", orders)
        connection.execute(
            "create table features.customer_days as select customer_id, order_date::date as order_date,"
            " sum(net_sales)::decimal(18, 2) as net_sales from orders group by all"
        )
        weeks = pd.DataFrame(
            [
                (level, name, DAY - timedelta(days=7 * ago), 1000.0 + 10 * ago, True)
                for level, name in (("total", "total"), ("department", "A"), ("department", "B"))
                for ago in range(1, 20)
            ],
            columns=["level", "series_id", "period_start", "net_sales", "is_complete"],
        )
        connection.register("weeks", weeks)
        connection.execute(
            "create table features.weekly_sales as select * replace (period_start::date as period_start) from weeks"
        )
        monkeypatch.setattr(
            "orchestration.monitoring.WATCHED",
            {name: type(watched)(**{**vars(watched), "features": None}) for name, watched in WATCHED.items()},
        )
        yield World(connection, load_settings(data=tmp_path))


def scores_of_churn(shift: float = 0.0) -> pd.DataFrame:
    probability = (np.arange(CUSTOMERS) * 0.0016 + shift).clip(0, 1)
    return pd.DataFrame({"customer_id": [f"c{n}" for n in range(CUSTOMERS)], "churn_probability": probability})


def test_churn_matures_against_the_orders_of_its_window(world: World) -> None:
    scored_on = DAY - timedelta(days=30)
    world.write("churn", scored_on, scores_of_churn())
    world.write("churn", DAY - timedelta(days=27), scores_of_churn(0.1))  # its window is still open
    found = world.look("churn")

    days = world.connection.execute("from features.customer_days").df()
    inside = (days["order_date"].dt.date >= scored_on) & (days["order_date"].dt.date < scored_on + timedelta(days=28))
    stayed = set(days.loc[inside, "customer_id"])
    churned = [f"c{number}" not in stayed for number in range(CUSTOMERS)]
    row = found["matured", "roc_auc"]
    assert row["value"] == pytest.approx(roc_auc_score(churned, scores_of_churn()["churn_probability"]))
    assert (row["row_count"], row["compared_with"], row["status"]) == (CUSTOMERS, scored_on, "ok")
    assert pd.isna(row["expected"]), "nobody said on that day what was to be expected"
    mean = scores_of_churn()["churn_probability"].sum() / sum(churned) - 1
    assert found["matured", "bias"]["value"] == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize("promised, status", [(0.8, "ok"), (0.95, "warn"), (1.0, "block")])
def test_skill_below_what_the_hold_out_promised_warns_or_blocks(world: World, promised: float, status: str) -> None:
    """An area of .8 warns where .9 or more was promised: a quarter of what is above chance. Limits are settings."""
    scored_on = DAY - timedelta(days=28)
    came = {
        name
        for (name,) in world.connection.execute(
            "select customer_id from features.customer_days where order_date >= $scored_on", {"scored_on": scored_on}
        ).fetchall()
    }
    frame = scores_of_churn()
    happened = ~frame["customer_id"].isin(came)
    # Two fifths of those who churned are scored like the others: an area of .8.
    is_seen = happened & (happened.cumsum() % 5 < 3)
    world.write("churn", scored_on, frame.assign(churn_probability=is_seen.astype(float)))
    told = pd.DataFrame([{"kind": "hold_out", "metric": "roc_auc", "value": promised, "status": "ok"}])
    world.write(MONITORING, scored_on, told.assign(model="churn"), "churn")
    strict = World(world.connection, world.settings.model_copy(update={"block_decay": 0.39}))
    row = strict.look("churn")["matured", "roc_auc"]
    assert row["value"] == pytest.approx(0.8, abs=0.005)
    assert (row["status"], row["expected"]) == (status, promised)


def test_value_matures_against_what_was_spent(world: World) -> None:
    scored_on = DAY - timedelta(days=84)
    spent = (
        world.connection.execute(
            "select customer_id, sum(net_sales)::double as actual from features.customer_days"
            " where order_date >= $scored_on group by all",
            {"scored_on": scored_on},
        )
        .df()
        .set_index("customer_id")["actual"]
    )
    frame = pd.DataFrame({"customer_id": [f"c{number}" for number in range(CUSTOMERS)]})
    frame["predicted_clv"] = (frame["customer_id"].map(spent).fillna(0) * 1.1 + np.arange(CUSTOMERS) % 40).round(2)
    frame["lower_80"], frame["upper_80"] = frame["predicted_clv"] - 10, frame["predicted_clv"] + 10
    world.write("value", scored_on, frame)
    found, actual = world.look("value"), frame["customer_id"].map(spent).fillna(0)
    assert found["matured", "spearman"]["value"] == pytest.approx(spearmanr(frame["predicted_clv"], actual).statistic)
    bias = frame["predicted_clv"].sum() / actual.sum() - 1
    assert found["matured", "bias"]["value"] == pytest.approx(bias, abs=1e-4)


def forecasts_of(day: date, factor: float = 1.1) -> pd.DataFrame:
    """Eight weeks from a Monday on, of what will come times a factor."""
    rows = []
    for level, name in (("total", "total"), ("department", "A"), ("department", "B")):
        for week in range(8):
            start = day + timedelta(days=7 * week)
            sales = (1000.0 + 10 * ((DAY - start).days // 7)) * factor
            rows.append((level, name, start, sales, sales * 0.95, sales * 1.05))
    return pd.DataFrame(rows, columns=["level", "series_id", "period_start", "forecast", "lower_80", "upper_80"])


def test_a_forecast_matures_once_four_weeks_are_over(world: World) -> None:
    world.write("demand", DAY - timedelta(days=21), forecasts_of(DAY - timedelta(days=21), 9))
    assert ("matured", "wape") not in world.look("demand")
    world.write("demand", DAY - timedelta(days=28), forecasts_of(DAY - timedelta(days=28)))
    found = world.look("demand")
    assert found["matured", "wape"]["value"] == pytest.approx(0.1, abs=1e-5)
    assert found["matured", "bias"]["value"] == pytest.approx(0.1, abs=1e-5)
    assert found["matured", "coverage_80"]["value"] == 0
    assert (found["matured", "wape"]["row_count"], found["matured", "wape"]["compared_with"]) == (
        8,
        DAY - timedelta(days=28),
    )


def test_responses_mature_when_the_campaign_is_over(world: World) -> None:
    world.connection.execute(
        "create table features.campaign_member_features as select campaign::varchar as campaign_id,"
        " 'c' || member as customer_id, date '2017-12-01' + 20 * campaign::int as end_date,"
        " campaign < 2 as is_label_closed, member % 4 = 0 as has_responded"
        " from range(3) as campaigns(campaign) cross join range(600) as members(member)"
    )
    scored_on = date(2017, 12, 5)
    frame = pd.DataFrame(
        [(str(c), f"c{n}", 0.5 if n % 4 == 0 else 0.1) for c in range(3) for n in range(CUSTOMERS)],
        columns=["campaign_id", "customer_id", "response_probability"],
    )
    world.write("response", scored_on, frame)
    row = world.look("response")["matured", "roc_auc"]
    # One was over when it was scored, one is not over yet.
    assert (row["value"], row["row_count"], row["compared_with"]) == (1.0, CUSTOMERS, scored_on)


def test_too_few_outcomes_tell_nothing(world: World) -> None:
    world.write("churn", DAY - timedelta(days=28), scores_of_churn().head(150))
    assert not any(kind == "matured" for kind, _ in world.look("churn"))


@pytest.mark.parametrize("shift, status", [(0.0, "ok"), (0.12, "warn"), (5.0, "block")])
def test_scores_drift_from_those_of_the_day_before(world: World, shift: float, status: str) -> None:
    world.write("churn", DAY - timedelta(days=5), scores_of_churn(0.9))
    world.write("churn", DAY - timedelta(days=1), scores_of_churn())
    world.write("churn", DAY, scores_of_churn(shift))
    row = world.look("churn")["score_drift", "churn_probability"]
    assert (row["status"], row["compared_with"]) == (status, DAY - timedelta(days=1))


@pytest.mark.parametrize(
    "trained_on, status",
    [(DAY - timedelta(days=1), "block"), (DAY, "ok")],
    ids=["by one version", "drawn anew since"],
)
def test_segments_that_were_drawn_anew_have_not_drifted(world: World, trained_on: date, status: str) -> None:
    """A segment more, found on purpose and judged by gate 3: of one version the same would block."""
    before = pd.DataFrame({"customer_id": [f"c{n}" for n in range(CUSTOMERS)], "segment_id": 1})
    world.write("segments", DAY - timedelta(days=1), before)
    world.write("segments", DAY, before.assign(segment_id=1 + np.arange(CUSTOMERS) % 2))
    found = monitor(world.connection, "segments", DAY, replace(SCORER, as_of_date=trained_on), world.settings)
    (row,) = found[found["kind"] == "score_drift"].to_dict("records")
    assert row["value"] > world.settings.block_drift
    assert (row["status"], pd.isna(row["block_limit"])) == (status, status == "ok")


def test_scores_of_other_windows_are_not_compared(world: World) -> None:
    scored_on = DAY - timedelta(days=28)
    told = pd.DataFrame([{"kind": "window", "metric": "churn_window_days", "value": 14.0, "status": "ok"}])
    for before in (scored_on, DAY - timedelta(days=1)):
        world.write("churn", before, scores_of_churn(5.0))
        world.write(MONITORING, before, told.assign(model="churn"), "churn")
    world.write("churn", DAY, scores_of_churn())
    assert not {"score_drift", "matured"} & {kind for kind, _ in world.look("churn")}
    shorter = World(world.connection, world.settings.model_copy(update={"prediction_window_days": 14}))
    assert {"score_drift", "matured"} <= {kind for kind, _ in shorter.look("churn")}


def test_a_first_day_or_a_day_without_scores_has_no_drift(world: World) -> None:
    asked = {("window", "churn_window_days"), ("window", "dormant_after_days")}
    assert set(world.look("churn")) == {("age", "days_since_training")} | asked
    world.write("churn", DAY, scores_of_churn())
    world.write("churn", DAY - timedelta(days=1), scores_of_churn().assign(churn_probability=np.nan))
    assert set(world.look("churn")) == {("age", "days_since_training")} | asked
    assert len(monitor(world.connection, "churn", DAY, None, world.settings)) == 0


def test_what_the_hold_out_showed_is_that_of_the_version_that_scores(world: World) -> None:
    measured = pd.DataFrame(
        [
            ("churn", version, "challenger", "hold_out", "roc_auc", value)
            for version, value in (("3", 0.85), ("4", 0.9))
        ],
        columns=["model", "version", "role", "split", "metric", "value"],
    ).assign(split_start=DAY, split_end=DAY)
    world.write("performance", TRAINED, measured, "churn")
    assert world.look("churn")["hold_out", "roc_auc"]["value"] == 0.85


# The gate, and what follows ------------------------------------------------------------------------


def broken(world: World) -> set[str]:
    frame = read_monitoring(world.connection, DAY, MODELS)
    results = [result for suite in monitoring_suites(world.settings) for result in suite.validate(frame, "hash")]
    assert all(result.table_name == "scores.monitoring" for result in results)
    return {result.check_name for result in results if not result.passed}


def test_nothing_known_of_any_model_is_let_through(world: World) -> None:
    show_scores(world.connection, world.settings.scores_dir, DAY)
    assert broken(world) == set()
    assert len(read_monitoring(world.connection, DAY, MODELS)) == len(MODELS)


@pytest.mark.parametrize(
    "change, rules",
    [
        ({}, set()),
        ({"status": "warn"}, {"monitoring_warnings_is_within_limits"}),
        ({"status": "block"}, {"monitoring_warnings_is_within_limits", "monitoring_is_within_limits"}),
        ({"status": None}, {"monitoring_status_is_known", "monitoring_warnings_status_is_known"}),
        ({"status": "fine"}, {"monitoring_warnings_is_within_limits", "monitoring_is_within_limits"}),
    ],
)
def test_beyond_one_limit_the_gate_warns_and_beyond_the_other_it_blocks(
    world: World, change: dict[str, Any], rules: set[str]
) -> None:
    world.tell("churn", **change)
    assert broken(world) == rules


def test_the_message_names_the_feature_its_value_and_what_to_do(world: World) -> None:
    world.tell("churn", kind="feature_drift", metric="recency_days", value=2.5, status="block", block_limit=1.0)
    frame = read_monitoring(world.connection, DAY, MODELS)
    (suite, _) = monitoring_suites(world.settings)
    (result,) = [result for result in suite.validate(frame, "hash") if result.blocks]
    said = result.describe_failure()
    assert "gate models: monitoring_is_within_limits" in said and "(1 rows)" in said
    assert "model=churn, kind=feature_drift, metric=recency_days, found=2.500" in said
    assert "CUSTOMER360_RETRAIN=always" in said and "CUSTOMER360_BLOCK_DRIFT" in said


def test_what_was_found_yesterday_asks_for_training_today(world: World) -> None:
    assert evidence("churn", DAY, world.settings) == []
    world.tell("churn", status="warn", value=0.65)
    assert evidence("churn", DAY, world.settings) == [], "a day is not judged by itself"
    (said,) = evidence("churn", DAY + timedelta(days=1), world.settings)
    assert said == "matured of roc_auc on 2018-01-01: 0.650, the limit is 0.700"
    assert evidence("value", DAY + timedelta(days=1), world.settings) == []


@pytest.mark.parametrize(
    ("before", "told", "status"),
    [
        (0.0, None, "block"),  # at once: most likely broken
        (2.0, None, "warn"),  # as far a week ago: customers have changed, and the model should learn it
        (2.0, "block", "block"),  # broken, and no less for being a week old
        (2.0, "warn", "warn"),
    ],
)
def test_a_feature_blocks_where_it_drifted_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch, before: float, told: str | None, status: str
) -> None:
    """Three frames: what taught, the cut-off before, and the day, whose values lie far from what taught."""
    week_ago = DAY - timedelta(days=7)
    world.connection.execute(
        "create table features.customer_features as"
        f" select unnest([date '{week_ago}', date '{DAY}']) as as_of_date, 365 as tenure_days"
    )
    values = np.random.default_rng(3).normal(size=(3, CUSTOMERS))

    def features(connection: Any, day: date, *_: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
        now = values[2] + 2.2 if day == DAY else values[1] + before
        return pd.DataFrame({"spend": values[0]}), pd.DataFrame({"spend": now})

    watched = {**vars(WATCHED["churn"]), "features": features}
    monkeypatch.setattr("orchestration.monitoring.WATCHED", {"churn": type(WATCHED["churn"])(**watched)})
    if told is not None:
        row = {"kind": "feature_drift", "metric": "spend", "value": 2.5, "status": told}
        world.write(MONITORING, week_ago, pd.DataFrame([{"model": "churn", **row}]), "churn")
    found = monitor(world.connection, "churn", DAY, SCORER, world.settings).set_index("metric").loc["spend"]
    assert found["value"] > found["block_limit"]
    assert found["status"] == status
