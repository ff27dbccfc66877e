"""Baselines are what they are called; pictures are pictures; the card says what was measured."""

import json

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from ml.baselines import baselines
from ml.evaluation import measure
from ml.model_card import model_card
from ml.plots import calibration_and_lift, importance
from ml.propensity import PropensityModel, backtest
from tests.unit.ml.ml_frames import make_frame, make_specification, make_timed_specification


def test_baselines_are_what_they_are_called(frame: pd.DataFrame) -> None:
    label, test = frame["label"].to_numpy(), make_frame(500, 9)
    made = {
        name: baseline.fit(frame, label).predict(test) for name, baseline in baselines(make_specification()).items()
    }
    assert set(made["base_rate"]) == {label.mean()}
    scaled = (test[["a"]] - frame["a"].mean()) / frame["a"].std(ddof=0)
    train = (frame[["a"]] - frame["a"].mean()) / frame["a"].std(ddof=0)
    by_hand = LogisticRegression(tol=1e-8).fit(train, label).predict_proba(scaled)[:, 1]
    np.testing.assert_allclose(made["a_only"], by_hand, atol=1e-4)
    auc = {name: measure(test["label"], score, draws=0).roc_auc or 0 for name, score in made.items()}
    assert auc["base_rate"] == 0.5 < auc["a_only"] < auc["all"]


def test_pictures_and_card(timed: pd.DataFrame) -> None:
    spec = make_timed_specification().model_copy(update={"purpose": "To try things out."})
    tested = backtest(spec, timed, ["2024-04-07"], threads=1)
    model = PropensityModel(spec, 1).fit(timed)
    measured = {name: tested.metrics(name, draws=50) for name in tested.names}
    for picture in (
        calibration_and_lift("demo", measured["score"], measured["a_only"], "a only"),
        calibration_and_lift("one class", measure([0] * 20, np.linspace(0, 1, 20))),
        calibration_and_lift("nothing", measure([], [])),
        importance("demo", spec, model.importance_),
        importance("nothing", spec, {}),
    ):
        assert picture.startswith(b"\x89PNG")
    assert importance("demo", spec, model.importance_) == importance("demo", spec, model.importance_)

    decision = tested.judge(draws=50)
    card = model_card(model, measured, "the cut-off of 2024-04-07", decision, "f" * 64)
    for said in (
        "# Model card: demo",
        "To try things out.",
        "| a_only | 150 |",
        f"{measured['score'].roc_auc:.4f}",
        "f" * 64,
    ):
        assert said in card
    for said in (
        *decision.reasons,
        "| Trained on | 2,400 rows",
        "cut-offs 2024-01-07 to 2024-04-21",
        "| `num_leaves` | 4 |",
    ):
        assert said in card
    # The card of a loaded model is the same.
    state = PropensityModel._from_state(_state(model), 1, "text")
    assert model_card(state, measured, "the cut-off of 2024-04-07", decision, "f" * 64) == card


def _state(model: PropensityModel) -> dict[str, object]:
    state: dict[str, object] = json.loads(model.text())["state"]
    return state
