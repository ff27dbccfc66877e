"""Small synthetic frames with known parameters.

There is no __init__.py beside this: the folder must not shadow the package `ml`.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from ml.specification import Parameters, Specification

SMALL = Parameters(
    seeds=2,
    rounds=30,
    learning_rate=0.1,
    num_leaves=4,
    min_rows_in_leaf=20,
    feature_fraction=0.8,
    calibration_positives=20,
)
COEFFICIENTS = {"a": 1.5, "b": -1.0}


def make_frame(rows: int = 1200, seed: int = 0) -> pd.DataFrame:
    """One row per customer; log odds = -1 + 1.5 a - b, plus 1 for colour red; `noise` says nothing."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame({name: generator.normal(size=rows) for name in ("a", "b", "noise")})
    frame["colour"] = generator.choice(["red", "green", "blue"], rows)
    frame["truth"] = expit(-1 + 1.5 * frame["a"] - frame["b"] + (frame["colour"] == "red"))
    frame["label"] = (generator.random(rows) < frame["truth"]).astype(int)
    frame.insert(0, "customer_id", np.arange(rows))
    return frame


def make_timed(weeks: int = 16, customers: int = 150, seed: int = 0) -> pd.DataFrame:
    """`make_frame` on weekly cut-offs, with `recency_days`, `tenure_days` and a window of 14 days."""
    frames = []
    for week in range(weeks):
        frame = make_frame(customers, seed * 1000 + week)
        frame["as_of_date"] = pd.Timestamp("2024-01-07") + pd.Timedelta(weeks=week)
        frame["recency_days"] = frame["customer_id"] % 40 + 1
        frame["tenure_days"] = 7 * (week + 1)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def make_specification(**changes: Any) -> Specification:
    settings: dict[str, Any] = {
        "name": "demo",
        "label": "label",
        "score": "score",
        "keys": ("customer_id",),
        "features": ("a", "b", "noise", "colour"),
        "categorical": ("colour",),
        "baselines": {"a_only": ("a",), "all": ()},
        "gate_baseline": "a_only",
        "parameters": SMALL,
    }
    return Specification(**settings | changes)


def make_timed_specification(**changes: Any) -> Specification:
    timed = {"time_column": "as_of_date", "window_days": 14, "group": "customer_id"}
    return make_specification(**timed | changes)
