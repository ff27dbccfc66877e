"""A day's challenge: what comes out where there is enough, too little, or something that cannot be learned from."""

import numpy as np
import pandas as pd
import pytest

from ml.artefact import sha256_of
from ml.challenge import challenge_demand, challenge_propensity
from ml.decision import PERFORMANCE_COLUMNS
from ml.forecast_specification import ForecastSpecification
from ml.propensity import PropensityModel, predict_forward
from ml.specification import HoldOut, PromotionRule, Specification
from tests.unit.ml.ml_frames import make_timed_specification

AS_OF = "2024-05-05"


@pytest.fixture(scope="module")
def spec() -> Specification:
    return make_timed_specification(
        hold_out=HoldOut(cut_offs=2, spacing_days=14), promotion=PromotionRule(max_ece=0.2), window_days=14
    )


def test_a_challenge_brings_all_that_is_asked_of_it(spec: Specification, timed: pd.DataFrame) -> None:
    made = challenge_propensity(spec, timed, AS_OF, threads=1)
    assert made.decision.promote and made.decision.scores == "challenger"
    assert made.artefact is not None
    model = PropensityModel.from_text(made.artefact, sha256_of(made.artefact), 1)
    assert model.as_of_ is not None and model.as_of_.startswith(AS_OF)
    assert model.text() == PropensityModel(spec, 1).fit(timed, AS_OF).text()
    assert set(made.pictures) == {"calibration_and_lift", "importance"}
    assert sha256_of(made.artefact) in made.card and "## Gate: promoted" in made.card
    assert made.parameters["rounds"] == 30 and made.parameters["rows"] == model.rows_

    performance = made.performance
    assert list(performance.columns) == list(PERFORMANCE_COLUMNS)
    assert not performance.duplicated(["name", "split", "metric"]).any()
    assert set(zip(performance["name"], performance["role"], strict=True)) == {
        ("challenger", "challenger"),
        ("base_rate", "baseline"),
        ("a_only", "baseline"),
        ("all", "baseline"),
    }
    # Two cut-offs two weeks apart; the window of the last closed before the day.
    assert {str(day) for day in performance["split_start"]} == {"2024-04-07"}
    assert {str(day) for day in performance["split_end"]} == {"2024-05-04"}
    ours = performance[performance["name"] == "challenger"].set_index("metric")
    assert (ours["lower"] < ours["value"]).loc["roc_auc"] and (ours["value"] < ours["upper"]).loc["roc_auc"]
    assert {"lift_decile_1", "capture_decile_10", "ece", "brier", "log_loss"} <= set(ours.index)


def test_a_champion_is_measured_on_the_same_rows(spec: Specification, timed: pd.DataFrame) -> None:
    champion = PropensityModel(spec, 1).fit(timed, "2024-04-01")
    made = challenge_propensity(spec, timed, AS_OF, champion, threads=1)
    rows = made.performance[made.performance["metric"] == "rows"].set_index("name")["value"]
    assert rows["champion"] == rows["challenger"]
    assert any("the champion beyond noise" in reason for reason in made.decision.reasons)


def test_nothing_from_the_day_on_changes_the_challenge(spec: Specification, timed: pd.DataFrame) -> None:
    scrambled = timed.copy()
    later = scrambled["as_of_date"] + pd.Timedelta(days=14) > pd.Timestamp("2024-04-15")
    generator = np.random.default_rng(1)
    scrambled.loc[later, "label"] = generator.integers(0, 2, int(later.sum()))
    scrambled.loc[scrambled["as_of_date"] >= "2024-04-15", ["a", "b", "noise"]] = 1e6
    without = timed[timed["as_of_date"] < "2024-04-15"]
    made = [challenge_propensity(spec, frame, "2024-04-15", threads=1) for frame in (timed, scrambled, without)]
    assert made[0].artefact is not None
    assert made[0].artefact == made[1].artefact == made[2].artefact
    assert made[0].decision == made[1].decision == made[2].decision
    pd.testing.assert_frame_equal(made[0].performance, made[1].performance)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda frame: frame.assign(label=0), ["0 of them with label = 1", "needed are"]),
        (lambda frame: frame.assign(label=1), ["0 of them with label = 0", "needed are"]),
        (lambda frame: frame[frame["as_of_date"] < "2024-01-20"], ["labelled rows", "needed are"]),
        (lambda frame: frame.iloc[:0], ["0 labelled rows", "needed are"]),
        (lambda frame: frame.assign(a=np.where(frame.index == 7, np.inf, frame["a"])), ["infinite", "a"]),
        (lambda frame: frame.drop(columns="b"), ["no column b"]),
        (lambda frame: frame.assign(label=2), ["must be 0, 1 or NULL"]),
        (lambda frame: pd.concat([frame, frame.head(1)]), ["must name one row"]),
    ],
)
@pytest.mark.parametrize("has_champion", [False, True])
def test_what_cannot_be_learned_from_is_said_and_leaves_the_champion(
    spec: Specification, timed: pd.DataFrame, change: object, words: list[str], has_champion: bool
) -> None:
    assert callable(change)
    champion = PropensityModel(spec, 1).fit(timed, "2024-04-01") if has_champion else None
    made = challenge_propensity(spec, change(timed), AS_OF, champion, threads=1)
    assert made.artefact is None and made.performance.empty and not made.decision.promote
    assert made.decision.scores == ("champion" if has_champion else "nobody")
    assert all(word in made.decision.reasons[0] for word in words), made.decision.reasons


def test_too_few_rows_to_judge_by_is_too_little_data(timed: pd.DataFrame) -> None:
    strict = make_timed_specification(promotion=PromotionRule(min_rows=500, min_positives=400))
    made = challenge_propensity(strict, timed, AS_OF, threads=1)
    assert made.artefact is None
    assert "150 labelled rows to judge by, needed are 500" in made.decision.reasons[0]
    assert "of the rarer class, needed are 400" in made.decision.reasons[0]


def test_what_begins_with_the_hold_out_and_ends_later_does_not_count_to_it(
    spec: Specification, timed: pd.DataFrame
) -> None:
    """Two campaigns of one day: the one that is still open is no part of the hold-out, nor of its last day."""
    ends = timed.assign(end_date=timed["as_of_date"] + pd.Timedelta(days=13))
    newest = ends.loc[ends["end_date"] < pd.Timestamp(AS_OF), "as_of_date"].max()
    still_open = ends[ends["as_of_date"] == newest].head(20)
    still_open = still_open.assign(
        **{spec.label: np.nan, "customer_id": "open" + still_open["customer_id"].astype(str)},
        end_date=pd.Timestamp(AS_OF) + pd.Timedelta(days=30),
    )
    by_end = spec.model_copy(update={"window_days": None, "window_end_column": "end_date"})
    made = challenge_propensity(by_end, pd.concat([ends, still_open]), AS_OF, threads=1)
    assert made.artefact is not None
    assert {str(day) for day in made.performance["split_end"]} == {str((newest + pd.Timedelta(days=13)).date())}


def test_constant_and_empty_features_are_left_out_not_fatal(spec: Specification, timed: pd.DataFrame) -> None:
    made = challenge_propensity(spec, timed.assign(noise=np.nan, colour="red"), AS_OF, threads=1)
    assert made.decision.promote and made.artefact is not None


def test_rows_are_scored_by_a_model_that_saw_nothing_from_their_day_on(
    spec: Specification, timed: pd.DataFrame
) -> None:
    """A model of today scores an earlier cut-off as its specification, fitted as of then, would have."""
    today = PropensityModel(spec, 1).fit(timed, AS_OF)
    days = ["2024-01-07", "2024-03-17", "2024-04-21"]
    early, middle, late = predict_forward(today, timed, days)
    assert early["score"].isna().all() and len(early) == 150, "before the first cut-off there is nothing to learn from"
    rows = timed[timed["as_of_date"] == "2024-03-17"]
    pd.testing.assert_frame_equal(middle, PropensityModel(spec, 1).fit(timed, "2024-03-17").predict(rows))
    of_the_day = PropensityModel(spec, 1).fit(timed, "2024-04-21")
    rows = timed[timed["as_of_date"] == "2024-04-21"]
    (same,) = predict_forward(of_the_day, timed, ["2024-04-21"], score=rows)
    pd.testing.assert_frame_equal(same, of_the_day.predict(rows))
    pd.testing.assert_frame_equal(same, late)


@pytest.mark.parametrize(
    "weekly, words",
    [
        (pd.DataFrame(), ["weekly sales", "no column level"]),
        (
            pd.DataFrame(
                {
                    "level": "total",
                    "series_id": "total",
                    "period_start": pd.date_range("2024-01-01", periods=10, freq="W-MON"),
                    "net_sales": 100.0,
                }
            ),
            ["10 complete weeks", "needed are"],
        ),
    ],
)
def test_a_demand_without_history_is_said(weekly: pd.DataFrame, words: list[str]) -> None:
    made = challenge_demand(ForecastSpecification(), weekly, "2024-03-11")
    assert made.artefact is None and made.decision.scores == "nobody"
    assert all(word in made.decision.reasons[0] for word in words), made.decision.reasons
