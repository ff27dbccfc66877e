"""A day's challenge in segments: none without drift, new ones with it, and every gate has what it refuses."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.artefact import sha256_of
from ml.decision import PERFORMANCE_COLUMNS
from ml.segment_challenge import challenge_segments, reasons_to_refit
from ml.segments import Measured, RefitRule, SegmentModel
from tests.unit.ml.test_segments import (
    BAD,
    DAY,
    FEATURES,
    FOURTH,
    KINDS,
    QUICK,
    make_customers,
    make_segment_specification,
)

NEXT = "2024-03-02"
SEEN = "2024-02-29"  # the last day that the features of DAY have seen
SPEC = make_segment_specification()
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def customers() -> pd.DataFrame:
    return make_customers()


@pytest.fixture(scope="module")
def champion(customers: pd.DataFrame) -> SegmentModel:
    return SegmentModel(SPEC).fit(customers, DAY)


def values(performance: pd.DataFrame, name: str) -> "pd.Series[float]":
    return performance[performance["name"] == name].set_index("metric")["value"].astype(float)


def drifted(day: str = NEXT) -> pd.DataFrame:
    """The three kinds, and a fourth that there was not."""
    return make_customers((*KINDS, FOURTH), seed=1, day=day)


def test_the_first_run_brings_all_that_is_asked_of_it(customers: pd.DataFrame) -> None:
    made = challenge_segments(SPEC, customers, DAY)
    assert made.decision.promote and made.decision.scores == "challenger" and made.decision.challenged
    assert made.artefact is not None
    model = SegmentModel.from_text(made.artefact, sha256_of(made.artefact))
    assert sorted(segment.id for segment in model.segments_) == [1, 2, 3]
    assert set(made.pictures) == {"segments", "choice"}
    assert all(picture.startswith(PNG) for picture in made.pictures.values())
    assert made.parameters["segments"] == 3 and made.parameters["rows"] == 360
    assert sha256_of(made.artefact) in made.card and "## Gate: promoted" in made.card
    assert all(
        text in made.card for segment in model.segments_ for text in (segment.label, segment.traits, segment.rule)
    )

    performance = made.performance
    assert list(performance.columns) == list(PERFORMANCE_COLUMNS)
    assert not performance.duplicated(["name", "split", "metric"]).any()
    assert {str(day) for column in ("split_start", "split_end") for day in performance[column]} == {SEEN}
    assert set(performance["split"]) == {"refreshed_day"}
    ours = values(performance, "challenger")
    assert {"silhouette", "stability", "segments", "smallest_share", "fidelity", "drift"} <= set(ours.index)
    assert "changed_same_behaviour" not in set(performance["metric"]), "nothing to change from"
    assert ours["segments"] == 3 and ours["drift"] == 0 and 0.2 < ours["smallest_share"] <= 1 / 3
    assert ours["silhouette"] > values(performance, "permuted_columns")["silhouette"]
    baselines = set(performance.loc[performance["role"] == "baseline", "name"])
    kept = f"{model.chosen_['algorithm']}_3"
    assert len(baselines) == 12 and kept not in baselines and {"gaussian_mixture_5", "ward_2"} <= baselines
    stability = performance[(performance["name"] == "challenger") & (performance["metric"] == "stability")]
    assert (stability["lower"] <= stability["value"]).all() and (stability["value"] <= stability["upper"]).all()


def test_the_same_customers_give_the_same_challenge(customers: pd.DataFrame) -> None:
    made = challenge_segments(SPEC, customers, DAY)
    again = challenge_segments(SPEC, customers.sample(frac=1, random_state=3), DAY)
    assert made.artefact == again.artefact and made.card == again.card and made.pictures == again.pictures
    pd.testing.assert_frame_equal(made.performance, again.performance)


def test_without_drift_the_champion_is_kept_and_no_challenger_made(champion: SegmentModel) -> None:
    made = challenge_segments(SPEC, make_customers(seed=8, day=NEXT), NEXT, champion)
    assert not made.decision.promote and made.decision.scores == "champion" and not made.decision.challenged
    assert made.artefact is None
    assert any("PSI" in reason for reason in made.decision.reasons)
    assert set(made.pictures) == {"segments"} and "champion kept" in made.card
    assert sha256_of(champion.text()) in made.card
    assert set(made.performance["name"]) == {"champion"}
    assert not made.performance.duplicated(["name", "split", "metric"]).any()
    theirs = values(made.performance, "champion")
    assert theirs["changed_same_behaviour"] == 0 and 0 < theirs["drift"] <= 0.2


def test_drift_brings_new_segments_that_keep_their_identities(champion: SegmentModel) -> None:
    frame = drifted()
    made = challenge_segments(SPEC, frame, NEXT, champion)
    assert made.decision.promote and made.artefact is not None, made.decision.reasons
    assert any("drift of" in reason for reason in made.decision.reasons)
    model = SegmentModel.from_text(made.artefact, sha256_of(made.artefact))
    assert sorted(segment.id for segment in model.segments_) == [1, 2, 3, 4]
    before, now = (which.predict(frame)["segment_id"].to_numpy() for which in (champion, model))
    changed = values(made.performance, "challenger")["changed_same_behaviour"]
    assert changed == pytest.approx((before != now).mean()) and 0.2 < changed < 0.3, "the new kind alone"
    assert "changed_same_behaviour" not in values(made.performance, "champion").index
    assert values(made.performance, "champion")["drift"] > 0.2
    assert not made.performance.duplicated(["name", "split", "metric"]).any()


@pytest.mark.parametrize(
    "change, words",
    [
        ({}, None),
        ({"psi": {"visits": 0.21, "basket": 0.0}}, "drift of visits: PSI 0.210"),
        ({"psi": {"visits": float("nan")}}, "drift of visits"),
        ({"silhouette": 0.1}, "silhouette 0.100, at the fit"),
        ({"far_share": 0.06}, "6.0% of the customers are far"),
        ({"shares": {1: 0.5, 2: 0.5, 3: 0.0}}, "segment 3 is empty"),
    ],
)
def test_each_limit_asks_for_new_segments(champion: SegmentModel, change: dict[str, Any], words: str | None) -> None:
    calm = Measured(
        silhouette=champion.chosen_["silhouette"],
        fidelity=0.9,
        far_share=0.01,
        shares={1: 0.3, 2: 0.3, 3: 0.4},
        psi=dict.fromkeys(FEATURES, 0.01),
    )
    asked, _ = reasons_to_refit(SPEC, champion, replace(calm, **change))
    assert len(asked) == (words is not None)
    assert words is None or words in asked[0]


def test_other_settings_ask_for_new_segments_other_limits_do_not(champion: SegmentModel) -> None:
    frame = make_customers(seed=8, day=NEXT)
    finer = make_segment_specification(parameters=QUICK.model_copy(update={"tree_depth": 2}))
    made = challenge_segments(finer, frame, NEXT, champion)
    assert made.decision.promote and "no longer those" in made.decision.reasons[0]
    assert values(made.performance, "challenger")["changed_same_behaviour"] < 0.05
    stricter = make_segment_specification(refit=RefitRule(max_far_share=0.5))
    assert not challenge_segments(stricter, frame, NEXT, champion).decision.challenged


def test_a_champion_of_other_features_is_replaced(customers: pd.DataFrame) -> None:
    other = make_segment_specification(features=("visits", "basket", "points"))
    before = SegmentModel(other).fit(customers.assign(points=customers["fresh"] * 2), DAY)
    made = challenge_segments(SPEC, customers, DAY, before)
    assert made.decision.promote and made.artefact is not None
    assert any("no column for all of visits, basket, points" in reason for reason in made.decision.reasons)
    model = SegmentModel.from_text(made.artefact, sha256_of(made.artefact))
    assert min(segment.id for segment in model.segments_) > before.highest_id_
    assert "all segments are new" in made.card
    assert "changed_same_behaviour" not in set(made.performance["metric"])
    # Where the day has what it reads, its segments are found again.
    made = challenge_segments(SPEC, customers.assign(points=customers["fresh"] * 2), DAY, before)
    assert made.artefact is not None
    model = SegmentModel.from_text(made.artefact, sha256_of(made.artefact))
    assert sorted(segment.id for segment in model.segments_) == [1, 2, 3]


@pytest.mark.parametrize("has_champion", [False, True])
def test_noise_is_not_promoted(champion: SegmentModel, has_champion: bool) -> None:
    noise = make_customers(day=NEXT)
    generator = np.random.default_rng(9)
    noise[list(FEATURES)] = generator.normal([10, 20, 1, 1], 1, (len(noise), 4))
    made = challenge_segments(SPEC, noise, NEXT, champion if has_champion else None)
    assert not made.decision.promote and made.decision.challenged
    assert made.decision.scores == ("champion" if has_champion else "nobody")
    assert any("permuted_columns" in reason for reason in made.decision.reasons)
    if has_champion:
        assert values(made.performance, "champion")["changed_same_behaviour"] == 0


@pytest.mark.parametrize(
    "parameters, words",
    [
        ({"min_stability": 1.0}, "not stable: adjusted Rand index"),
        ({"min_share": 0.4}, "the smallest segment has"),
        ({"min_advantage": 0.99}, "of the baseline permuted_columns, needed is 0.99 more"),
    ],
)
def test_each_gate_refuses(customers: pd.DataFrame, parameters: dict[str, float], words: str) -> None:
    noisy = customers.copy()
    noisy[list(FEATURES)] *= np.random.default_rng(1).normal(1, 0.5, (len(noisy), 4))
    spec = make_segment_specification(parameters=QUICK.model_copy(update=parameters))
    made = challenge_segments(spec, noisy, DAY)
    assert not made.decision.promote and made.decision.scores == "nobody"
    assert any(words in reason for reason in made.decision.reasons), made.decision.reasons


def test_new_segments_clearly_worse_than_the_old_ones_leave_them(
    champion: SegmentModel, customers: pd.DataFrame
) -> None:
    finest = QUICK.model_copy(update={"min_segments": 8, "max_segments": 8, "min_stability": 0.0, "min_share": 0.0})
    made = challenge_segments(make_segment_specification(parameters=finest), customers, DAY, champion)
    assert not made.decision.promote and made.decision.scores == "champion"
    assert any("clearly worse than the champion" in reason for reason in made.decision.reasons)
    lenient = make_segment_specification(parameters=finest, refit=RefitRule(max_silhouette_loss=1.0))
    assert challenge_segments(lenient, customers, DAY, champion).decision.promote


@pytest.mark.parametrize("change, error, words", BAD)
@pytest.mark.parametrize("has_champion", [False, True])
def test_what_cannot_be_divided_is_said_and_leaves_the_champion(
    champion: SegmentModel, change: Any, error: type[ValueError], words: list[str], has_champion: bool
) -> None:
    spec = make_segment_specification(parameters=QUICK.model_copy(update={"min_segments": 3}))
    made = challenge_segments(spec, change(make_customers()), DAY, champion if has_champion else None)
    assert made.artefact is None and made.performance.empty and not made.decision.promote
    assert made.decision.scores == ("champion" if has_champion else "nobody")
    assert all(word in made.decision.reasons[0] for word in words), made.decision.reasons


def test_nothing_personal_leaves_the_challenge(customers: pd.DataFrame) -> None:
    made = challenge_segments(SPEC, customers, DAY)
    assert made.artefact is not None and b"person-" not in made.artefact
    assert "person-" not in made.card and "person-" not in made.performance.to_csv()
    assert "person-" not in "".join(made.decision.reasons)
