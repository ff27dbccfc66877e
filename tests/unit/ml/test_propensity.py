"""The trainer: known parameters come back, bad input is named, and a row scores the same whichever way it comes."""

import ast
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.exceptions import NotFittedError

from ml.artefact import ArtefactError
from ml.evaluation import expected_calibration_error, measure
from ml.propensity import Backtest, PropensityModel, backtest, comparable
from ml.specification import HoldOut, Specification, TooLittleDataError, holdout_times
from tests.unit.ml.ml_frames import (
    COEFFICIENTS,
    SMALL,
    make_frame,
    make_specification,
    make_timed,
    make_timed_specification,
)

BLEND = SMALL.model_copy(update={"logistic_weight": 0.4})


def fitted(frame: pd.DataFrame, threads: int = 1, **changes: Any) -> PropensityModel:
    return PropensityModel(make_specification(**changes), threads).fit(frame)


@pytest.fixture(scope="module")
def blend(frame: pd.DataFrame) -> PropensityModel:
    """Trees and regression."""
    return fitted(frame, parameters=BLEND)


@pytest.fixture(scope="module")
def forward(timed: pd.DataFrame) -> PropensityModel:
    return PropensityModel(make_timed_specification(), 1).fit(timed, "2024-04-01")


# Known parameters


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_known_probabilities_are_recovered(weight: float) -> None:
    train, test = make_frame(4000, 1), make_frame(2000, 2)
    parameters = SMALL.model_copy(update={"rounds": 80, "logistic_weight": weight, "logistic_c": 1.0})
    score = fitted(train, parameters=parameters).predict(test)["score"].to_numpy()
    assert np.corrcoef(logit(score), logit(test["truth"]))[0, 1] > 0.95
    assert np.abs(score - test["truth"]).mean() < 0.06


def test_the_regression_alone_finds_the_coefficients() -> None:
    parameters = SMALL.model_copy(update={"logistic_weight": 1.0, "logistic_c": 100.0})
    model = fitted(make_frame(6000, 1), parameters=parameters)
    steps = pd.DataFrame({"customer_id": range(2), "a": 0.0, "b": 0.0, "noise": 0.0, "colour": "red"})
    for feature, coefficient in COEFFICIENTS.items():
        rows = steps.assign(**{feature: [0.0, 1.0]})
        assert np.diff(model.raw_score(rows))[0] == pytest.approx(coefficient, abs=0.15)


def test_what_matters_is_important_and_noise_is_not(blend: PropensityModel) -> None:
    assert list(blend.importance_)[:2] == ["a", "b"]
    assert blend.importance_["noise"] < 0.1
    assert sum(blend.importance_.values()) == pytest.approx(1)


def test_calibration_improves_a_miscalibrated_score() -> None:
    """Hardly any trees: scores much too timid, until they are calibrated."""
    timid = SMALL.model_copy(update={"rounds": 5})
    train, test = make_frame(4000, 1), make_frame(4000, 2)
    model = fitted(train, parameters=timid)
    raw = expit(model.blend_.raw(model.blend_.preprocessor.transform(test)))
    score = model.predict(test)["score"]
    assert model.calibration_[0] > 1.5
    assert expected_calibration_error(test["label"], raw) > 0.08
    assert expected_calibration_error(test["label"], score) < 0.045
    # Neither the rows trained on nor the ranking have a part in it.
    assert measure(test["label"], score, draws=0).roc_auc == pytest.approx(measure(test["label"], raw, draws=0).roc_auc)


def test_calibration_never_sees_rows_that_its_model_was_trained_on(timed: pd.DataFrame) -> None:
    spec, model = make_timed_specification(), PropensityModel(make_timed_specification(), 1)
    folds = list(model._folds_forward(timed, pd.Timestamp("2024-04-01")))
    assert len(folds) == 2
    for train, _, test, _ in folds:
        assert (train["as_of_date"] + pd.Timedelta(days=14)).max() <= test["as_of_date"].min()
        assert (test["as_of_date"] + pd.Timedelta(days=14)).max() <= pd.Timestamp("2024-04-01")
    rows, label = timed.head(300), timed["label"].head(300).to_numpy()
    apart = PropensityModel(spec.model_copy(update={"group": "customer_id"}), 1)._folds_apart(rows, label)
    for train, _, test, _ in apart:
        assert not set(train["customer_id"]) & set(test["customer_id"])


# Train and serve


def test_a_row_scores_the_same_alone_in_a_batch_and_in_any_order(blend: PropensityModel, frame: pd.DataFrame) -> None:
    batch = blend.predict(frame)["score"]
    alone = [blend.predict(frame.iloc[[row]])["score"].iloc[0] for row in range(40)]
    assert alone == batch.head(40).tolist()
    shuffled = blend.predict(frame.sample(frac=1, random_state=1))["score"]
    pd.testing.assert_series_equal(shuffled.sort_index(), batch)
    pieces = pd.concat(blend.predict_batches(frame.iloc[start : start + 7] for start in range(0, 70, 7)))
    assert pieces["score"].tolist() == batch.head(70).tolist()


def test_nothing_is_learned_at_scoring(blend: PropensityModel, frame: pd.DataFrame) -> None:
    """Train/serve skew: a shifted batch must shift its scores; a scaler fitted anew would take the shift out."""
    before = blend.text()
    shifted = frame.assign(a=frame["a"] + 2)
    assert (blend.predict(shifted)["score"] >= blend.predict(frame)["score"] - 0.05).all()
    assert blend.predict(shifted)["score"].mean() > blend.predict(frame)["score"].mean() + 0.2
    assert blend.text() == before


def test_the_order_of_columns_and_rows_does_not_matter(frame: pd.DataFrame, blend: PropensityModel) -> None:
    mixed = frame[frame.columns[::-1]].sample(frac=1, random_state=3)
    assert fitted(mixed, parameters=BLEND).text() == blend.text()
    pd.testing.assert_frame_equal(blend.predict(mixed).sort_index(), blend.predict(frame))
    without_list: dict[str, Any] = {"features": None, "exclude": ("truth",), "parameters": BLEND}
    assert fitted(mixed, **without_list).text() == fitted(frame, **without_list).text()


def test_the_label_is_not_looked_at_when_scoring(blend: PropensityModel, frame: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(blend.predict(frame.drop(columns=["label", "truth"])), blend.predict(frame))


def test_types_of_a_warehouse_score_like_floats(frame: pd.DataFrame) -> None:
    """DECIMAL, nullable integers and booleans, and the same numbers as floats."""
    plain = frame.assign(a=frame["a"].round(2), b=(frame["b"] > 0).astype(float), noise=frame["noise"].round())
    plain.loc[5, ["a", "b", "noise"]] = np.nan
    typed = plain.assign(
        a=plain["a"].map(lambda value: None if np.isnan(value) else Decimal(f"{value:.2f}")),
        b=plain["b"].astype("boolean"),
        noise=plain["noise"].astype("Int64"),
        label=plain["label"].astype("boolean"),
    )
    assert fitted(typed).text() == fitted(plain).text()
    answered = plain["label"].astype(bool).astype(object).where(plain.index != 7, None)
    assert fitted(plain.assign(label=answered)).rows_ == len(plain) - 1


def test_an_index_with_repetitions_is_no_trouble(blend: PropensityModel, frame: pd.DataFrame) -> None:
    twice = pd.concat([frame.head(3), frame.head(3)])
    assert len(blend.predict(twice)) == len(blend.explain(twice)) == 6
    assert len(next(blend.predict_batches([twice], reasons=2))) == 6


def test_an_empty_batch_gives_an_empty_answer(blend: PropensityModel, frame: pd.DataFrame) -> None:
    scored = next(blend.predict_batches([frame.head(0)], reasons=3))
    assert scored.columns.tolist() == ["customer_id", "score", "reason_1", "reason_2", "reason_3"]
    assert scored.empty


def test_the_ineligible_are_neither_learned_from_nor_scored(timed: pd.DataFrame) -> None:
    spec = make_timed_specification(activity_column="recency_days", activity_window_days=20)
    active = timed[timed["recency_days"] <= 20]
    model = PropensityModel(spec, 1).fit(timed, "2024-04-01")
    assert model.text() == PropensityModel(spec, 1).fit(active, "2024-04-01").text()
    assert model.predict(timed).index.tolist() == active.index.tolist()
    assert model.explain(timed).index.tolist() == active.index.tolist()


# Time


def test_what_comes_from_the_day_on_changes_no_model(timed: pd.DataFrame, forward: PropensityModel) -> None:
    later = timed["as_of_date"] + pd.Timedelta(days=14) > pd.Timestamp("2024-04-01")
    scrambled = timed.copy()
    scrambled.loc[later, ["a", "b"]] = 99.0
    scrambled.loc[later, "label"] = 1 - scrambled.loc[later, "label"]
    for other in (scrambled, timed[~later]):
        assert PropensityModel(make_timed_specification(), 1).fit(other, "2024-04-01").text() == forward.text()
    assert (forward.first_time_, forward.last_time_) == ("2024-01-07", "2024-03-17")


def test_metrics_of_rows_that_may_have_taught_are_refused(timed: pd.DataFrame, forward: PropensityModel) -> None:
    with pytest.raises(ValueError, match=r"rows of 2024-03-31 may have taught it.*backtest"):
        forward.evaluate(timed[timed["as_of_date"] >= "2024-03-31"])
    measured = forward.evaluate(timed[timed["as_of_date"] >= "2024-04-01"], draws=50)
    assert measured.roc_auc is not None
    assert measured.roc_auc > 0.75


def test_without_a_day_everything_closed_is_known(timed: pd.DataFrame) -> None:
    model = PropensityModel(make_timed_specification(), 1).fit(timed)
    assert (model.rows_, model.last_time_) == (len(timed), "2024-04-21")
    assert model.as_of_ == "2024-05-05T00:00:00"


def test_a_backtest_is_fitting_as_of_each_day(timed: pd.DataFrame) -> None:
    spec = make_timed_specification()
    tested = backtest(spec, timed, ["2024-04-07", "2024-04-21"], threads=1)
    assert tested.names == ("score", "base_rate", "a_only", "all")
    rows = timed[timed["as_of_date"] == "2024-04-07"]
    model = PropensityModel(spec, 1).fit(timed, "2024-04-07")
    found = tested.predictions[tested.predictions["as_of_date"] == "2024-04-07"]
    assert found["score"].tolist() == model.predict(rows)["score"].tolist()
    measured, base = tested.metrics(draws=50), tested.metrics("base_rate", draws=50)
    assert measured.roc_auc is not None
    assert measured.roc_auc > 0.75 > 0.6 > (base.roc_auc or 0)
    assert tested.metrics(time="2024-04-07", draws=0).rows == 150
    advantage = tested.advantage("a_only", draws=100)
    assert advantage is not None
    assert advantage.lower > 0


def test_a_backtest_without_time_keeps_groups_apart(frame: pd.DataFrame) -> None:
    doubled = pd.concat([frame, frame.assign(customer_id=frame["customer_id"] + 10_000)], ignore_index=True)
    doubled["household_id"] = doubled["customer_id"] % 10_000
    tested = backtest(make_specification(group="household_id"), doubled, folds=3, threads=1)
    assert len(tested.predictions) == len(doubled)
    # Had a twin been trained on, the scores would know the label.
    assert (tested.metrics(draws=0).roc_auc or 0) == pytest.approx(
        measure(frame["label"], frame["truth"]).roc_auc, abs=0.05
    )


def test_the_newest_closed_cut_offs_are_held_out(timed: pd.DataFrame) -> None:
    spec, days = make_timed_specification(), pd.to_datetime
    assert holdout_times(spec, timed, "2024-04-21") == list(days(["2024-04-07"]))
    assert holdout_times(spec, timed, "2024-04-20", HoldOut(cut_offs=2, spacing_days=14)) == list(
        days(["2024-03-17", "2024-03-31"])
    )
    assert len(holdout_times(spec, timed, "2024-04-21", HoldOut(positives=100))) == 2
    assert holdout_times(spec, timed, "2024-01-08") == []


def test_a_champion_that_has_seen_the_hold_out_is_fitted_anew(timed: pd.DataFrame, forward: PropensityModel) -> None:
    assert comparable(forward, timed, "2024-04-07") is forward
    older = comparable(forward, timed, "2024-03-03")
    assert older.as_of_ == "2024-03-03T00:00:00"
    assert older.specification == forward.specification
    tested = backtest(make_timed_specification(), timed, ["2024-03-03"], champion=forward, threads=1)
    assert tested.predictions["champion"].tolist() == tested.predictions["score"].tolist()
    assert tested.judge(draws=100).scores in ("challenger", "champion")


def test_a_champion_of_another_window_is_fitted_anew_with_this_one(
    timed: pd.DataFrame, forward: PropensityModel
) -> None:
    spec = make_timed_specification()
    other = PropensityModel(spec.model_copy(update={"window_days": 7}), 1).fit(timed, "2024-03-03")
    again = comparable(other, timed, "2024-04-07", forward)
    assert again.specification.window_days == spec.window_days
    assert comparable(forward, timed, "2024-04-07", forward) is forward


def test_what_was_fitted_to_the_same_rows_is_not_fitted_again(timed: pd.DataFrame, tmp_path: Path) -> None:
    day, folder = "2024-03-17", tmp_path / "fits"

    def fit(frame: pd.DataFrame, spec: Specification | None = None) -> pd.DataFrame:
        return PropensityModel(spec or make_timed_specification(), 1).fit_once(frame, day, folder).predict(timed)

    expected = PropensityModel(make_timed_specification(), 1).fit(timed, day).predict(timed)
    pd.testing.assert_frame_equal(fit(timed), expected)
    (kept,) = folder.iterdir()
    os.utime(kept, (1, 1))
    # Neither the order of rows nor what comes from that day on makes a difference.
    later = timed["as_of_date"] >= pd.Timestamp(day)
    others = timed.assign(a=timed["a"].mask(later, 7.0), label=timed["label"].mask(later))
    others = others.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(fit(others), expected)
    assert list(folder.iterdir()) == [kept] and kept.stat().st_mtime > 1, "read, not written"

    corrected = timed.copy()
    corrected.loc[~later.to_numpy(), "a"] += np.arange((~later).sum()) % 2
    assert not fit(corrected)["score"].equals(expected["score"])
    fit(timed, make_timed_specification(seed=3))
    assert len(list(folder.iterdir())) == 3

    content = kept.read_bytes()
    kept.write_bytes(content.replace(b"0", b"1", 1))
    pd.testing.assert_frame_equal(fit(timed), expected)
    assert kept.read_bytes() == content, "a damaged one is made again"


# Bad input


def test_too_little_data_is_a_message(timed: pd.DataFrame, frame: pd.DataFrame) -> None:
    for few in (frame.head(30), frame.head(0), frame.assign(label=np.nan)):
        with pytest.raises(TooLittleDataError, match="labelled rows whose window has closed, needed are 200"):
            fitted(few)
    spec = make_timed_specification()
    with pytest.raises(TooLittleDataError, match="as of 2024-01-10: 0 labelled rows"):
        PropensityModel(spec, 1).fit(timed, "2024-01-10")
    with pytest.raises(TooLittleDataError, match="0 labelled rows"):
        PropensityModel(spec, 1).fit(timed.assign(label=np.nan))
    with pytest.raises(TooLittleDataError, match="0 labelled rows"):
        backtest(spec, timed.assign(label=np.nan))


@pytest.mark.parametrize("value", [0, 1])
def test_no_positives_or_no_negatives_is_a_message(frame: pd.DataFrame, value: int) -> None:
    with pytest.raises(TooLittleDataError, match=f"0 of them with label = {1 - value}, needed are 20"):
        fitted(frame.assign(label=value))


def test_one_class_in_a_fold_leaves_the_scores_uncalibrated_and_says_so(timed: pd.DataFrame) -> None:
    early = timed["as_of_date"] < "2024-03-24"
    model = PropensityModel(make_timed_specification(), 1).fit(timed.assign(label=timed["label"].where(~early, 0)))
    assert model.calibration_ == (1.0, 0.0)
    assert any("fold left out: 0 rows of the rarer class" in note for note in model.notes_)
    assert any("not calibrated" in note for note in model.notes_)
    assert model.predict(timed)["score"].between(0, 1).all()


@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
def test_an_infinite_value_is_refused_with_its_column(
    frame: pd.DataFrame, blend: PropensityModel, infinite: float
) -> None:
    broken = frame.assign(b=frame["b"].where(frame.index > 1, infinite))
    for act in (fitted, blend.predict):
        with pytest.raises(ValueError, match="feature b is infinite in 2 of 1200 rows"):
            act(broken)


def test_a_missing_column_is_named(frame: pd.DataFrame, blend: PropensityModel) -> None:
    for act in (fitted, blend.predict, blend.explain):
        with pytest.raises(ValueError, match="has no column b"):
            act(frame.drop(columns="b"))
    for act in (fitted, blend.predict):
        with pytest.raises(ValueError, match="has no column customer_id"):
            act(frame.drop(columns="customer_id"))
    with pytest.raises(ValueError, match="has no column label"):
        fitted(frame.drop(columns="label"))
    with pytest.raises(ValueError, match="more than one column b"):
        blend.predict(pd.concat([frame, frame[["b"]]], axis=1))


@pytest.mark.parametrize(
    "make", [lambda column: "text", lambda column: pd.Timestamp("2024-01-01"), lambda column: column.astype("category")]
)
def test_a_feature_that_is_no_number_is_named(frame: pd.DataFrame, make: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match=r"feature b .*categorical"):
        fitted(frame.assign(b=make(frame["b"])))


def test_constant_and_empty_features_are_left_out_with_a_note(frame: pd.DataFrame) -> None:
    model = fitted(frame.assign(noise=3, b=np.nan, colour=None))
    assert model.notes_[:3] == [
        "feature b left out: it is NULL in all 1200 rows",
        "feature noise left out: it is 3 in all 1200 rows",
        "feature colour left out: it never varies",
    ]
    assert list(model.importance_) == ["a"]
    assert np.isfinite(model.predict(frame)["score"]).all()
    with pytest.raises(ValueError, match="none of the 4 features varies"):
        fitted(frame.assign(a=1, b=2, noise=3, colour="red"))


def test_an_unseen_category_counts_as_unknown(blend: PropensityModel, frame: pd.DataFrame) -> None:
    unseen, unknown = frame.head(50).assign(colour="ultraviolet"), frame.head(50).assign(colour=None)
    assert blend.predict(unseen)["score"].tolist() == blend.predict(unknown)["score"].tolist()
    assert "colour: ultraviolet" in " ".join(map(str, blend.explain(unseen, 4).to_numpy().ravel()))


def test_a_level_is_the_same_as_number_and_as_text(frame: pd.DataFrame) -> None:
    codes = frame["colour"].map({"red": 1, "green": 2, "blue": 3})
    texts = fitted(frame.assign(colour=codes.astype(str))).text()
    assert fitted(frame.assign(colour=codes)).text() == fitted(frame.assign(colour=codes.astype(float))).text() == texts


def test_unknown_numbers_are_scored(frame: pd.DataFrame) -> None:
    holes = frame.assign(a=frame["a"].where(frame.index % 3 > 0))
    model = fitted(holes, parameters=BLEND)
    assert np.isfinite(model.predict(holes.assign(b=np.nan))["score"]).all()
    zeros = fitted(holes, parameters=BLEND, zero_if_null=("a",))
    filled = zeros.predict(holes.fillna({"a": 0.0}))["score"]
    assert zeros.predict(holes)["score"].tolist() == filled.tolist()


@settings(max_examples=25, deadline=None)
@given(
    a=st.one_of(st.none(), st.floats(-1e300, 1e300)),
    b=st.one_of(st.none(), st.floats(-1e300, 1e300)),
    colour=st.one_of(st.none(), st.text(max_size=5), st.integers(-3, 3)),
)
def test_any_finite_row_has_a_probability_and_reasons(
    blend: PropensityModel, a: float | None, b: float | None, colour: object
) -> None:
    row = pd.DataFrame({"customer_id": [1], "a": [a], "b": [b], "noise": [0.0], "colour": [colour]})
    row[["a", "b"]] = row[["a", "b"]].astype(float)
    assert 0 <= blend.predict(row)["score"].iloc[0] <= 1
    assert blend.explain(row)["reason_1"].iloc[0].startswith(("raises: ", "lowers: "))


def test_an_unfitted_model_says_so(frame: pd.DataFrame) -> None:
    model = PropensityModel(make_specification())
    for act in (model.predict, model.explain, model.contributions, model.evaluate):
        with pytest.raises(NotFittedError):
            act(frame)
    with pytest.raises(NotFittedError):
        model.text()


# Explanations


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_contributions_sum_to_the_log_odds(frame: pd.DataFrame, weight: float) -> None:
    model = fitted(frame, parameters=SMALL.model_copy(update={"logistic_weight": weight}))
    contributions = model.contributions(frame)
    np.testing.assert_allclose(contributions.sum(axis=1), logit(model.predict(frame)["score"]), atol=1e-8)
    assert sorted(contributions.columns) == ["a", "b", "bias", "colour", "noise"]


def test_reasons_are_the_strongest_themes_in_words(frame: pd.DataFrame) -> None:
    words = {
        "a": {"theme": "one", "text": "level of a: {value} (typical: {typical})"},
        "noise": {"theme": "one", "text": "noise: {value}", "kind": "share"},
    }
    spec = Specification.model_validate(make_specification(parameters=BLEND).model_dump() | {"words": words})
    model = PropensityModel(spec, 1).fit(frame)
    row = pd.DataFrame({"customer_id": [1], "a": [3.0], "b": [1.5], "noise": [0.5], "colour": ["red"]})
    first, second, third = model.explain(row).iloc[0, 1:]
    typical = model.blend_.preprocessor.medians_["a"]
    assert first == f"raises: level of a: 3 (typical: {typical:.2g})"
    assert second.startswith("lowers: b: 1.5 (typical: ")
    assert third == "raises: colour: red"
    # Three themes only: there is no fourth reason.
    assert model.explain(row, 4)["reason_4"].isna().all()


# The artefact


def test_the_same_data_give_the_same_text_at_any_number_of_threads(frame: pd.DataFrame) -> None:
    few, parameters = frame.head(300), BLEND.model_copy(update={"rounds": 8})
    text = fitted(few, parameters=parameters).text()
    assert fitted(few, parameters=parameters).text() == text
    assert fitted(few, threads=2, parameters=parameters).text() == text
    assert fitted(few, parameters=parameters, seed=1).text() != text


def test_a_model_comes_back_from_its_file_as_it_was(
    tmp_path: Path, blend: PropensityModel, forward: PropensityModel, frame: pd.DataFrame, timed: pd.DataFrame
) -> None:
    for model, rows in ((blend, frame), (forward, timed)):
        sha256 = model.save(tmp_path / "model.json")
        loaded = PropensityModel.load(tmp_path / "model.json", sha256, threads=1)
        pd.testing.assert_frame_equal(loaded.predict(rows), model.predict(rows), check_exact=True)
        pd.testing.assert_frame_equal(loaded.explain(rows), model.explain(rows))
        assert loaded.text() == model.text()
        assert (loaded.as_of_, loaded.rows_, loaded.importance_) == (model.as_of_, model.rows_, model.importance_)


def test_a_damaged_model_is_refused_before_lightgbm_sees_it(tmp_path: Path, blend: PropensityModel) -> None:
    path = tmp_path / "model.json"
    sha256 = blend.save(path)
    content = path.read_bytes()
    leaf = content.index(b"leaf_value=")
    for damaged in (
        content[: len(content) // 2],
        content[:leaf] + b"l" + content[leaf + 1 :].replace(b"0.1", b"0.2", 1),
        b"",
    ):
        path.write_bytes(damaged)
        with pytest.raises(ArtefactError, match="not what was recorded"):
            PropensityModel.load(path, sha256)


def test_an_artefact_of_another_make_is_refused(
    tmp_path: Path, blend: PropensityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.propensity._FITTED", ("as_of_",))
    sha256 = blend.save(tmp_path / "model.json")
    monkeypatch.undo()
    with pytest.raises(ArtefactError, match="Train anew"):
        PropensityModel.load(tmp_path / "model.json", sha256)


def test_the_package_is_plain_python() -> None:
    """No pickle, no Dagster, no dbt; matplotlib not at import."""
    offenders = []
    for path in sorted((Path(__file__).parents[3] / "ml").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            forbidden = {"pickle", "joblib", "dagster", "dbt", "duckdb", "orchestration"}
            forbidden |= {"matplotlib"} if path.name != "plots.py" or node in tree.body else set()
            offenders += [f"{path.name} imports {name}" for name in names if name.split(".")[0] in forbidden]
    assert offenders == []


def test_a_backtest_names_what_it_measured() -> None:
    tested = backtest(make_timed_specification(), make_timed(8), threads=1, folds=1)
    assert isinstance(tested, Backtest)
    assert tested.predictions.columns.tolist() == [
        "customer_id",
        "as_of_date",
        "score",
        "label",
        "group",
        *tested.names[1:],
    ]
