"""Hyper-parameters from a bounded, seeded search (Optuna's TPE; Akiba et al. 2019) on forward-in-time folds.

Run on demand, never by a refresh. What it finds is committed with its evidence in `ml/parameters/<model>.json`, where
the specifications read it; what is searched, and between which bounds, stands with each parameter.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pandas as pd

from ml.baselines import BASE_RATE
from ml.propensity import backtest
from ml.specification import COMMITTED, HoldOut, Moment, Parameters, Specification, TooLittleDataError, holdout_times

METRIC = "log_loss"
FOLDS = 6


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        parameters: The best ones.
        evidence: What was searched on, and the log loss of the best and of those it began with.
    """

    parameters: Parameters
    evidence: Mapping[str, Any]


def tune(
    specification: Specification, frame: pd.DataFrame, as_of: Moment, trials: int = 30, threads: int = 0
) -> Search:
    """Searches the parameters that carry bounds, beginning with those in force.

    Args:
        specification: The model, with a time column.
        frame: Feature rows with labels.
        as_of: A midnight; nothing from it on is looked at, so later days can still tell how good the result is.
        trials: How many sets of parameters are tried.
        threads: Of LightGBM.

    Returns:
        The set with the least log loss over the rows of the newest folds, windows apart.

    Raises:
        TooLittleDataError: There are fewer than two cut-offs to test on with enough before them.
    """
    begun = specification.parameters
    spacing = specification.window_days or 0
    wanted = HoldOut(cut_offs=FOLDS, spacing_days=spacing, positives=specification.hold_out.positives)
    times = holdout_times(specification, frame, as_of, wanted)
    if len(times) < 2:
        raise TooLittleDataError(
            f"{specification.name}: {len(times)} closed cut-offs to test on as of {as_of}, needed are 2"
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.TPESampler(seed=specification.seed))
    bounds = _bounds(begun)
    study.enqueue_trial({name: getattr(begun, name) for name in bounds})

    def objective(trial: optuna.Trial) -> float:
        return _log_loss(specification, _suggested(trial, begun, bounds), frame, times, threads)

    study.optimize(objective, n_trials=trials)
    best = _suggested(study.best_trial, begun, bounds)
    return Search(
        best,
        {
            "metric": METRIC,
            "best": round(study.best_value, 5),
            "before": round(float(study.trials[0].value or np.nan), 5),
            "folds": [str(pd.Timestamp(time).date()) for time in times],
            "nothing_seen_from": str(as_of),
            "trials": trials,
            "seed": specification.seed,
            "bounds": bounds,
        },
    )


def _bounds(parameters: Parameters) -> dict[str, dict[str, Any]]:
    """Of the parameters that matter: those of the trees, or of the regression, or of both where they are blended."""
    weight = parameters.logistic_weight
    found = {}
    for name, field in type(parameters).model_fields.items():
        extra = field.json_schema_extra
        is_of_regression = name.startswith("logistic")
        matters = weight > 0 if is_of_regression else weight < 1
        if isinstance(extra, dict) and "search" in extra and matters:
            found[name] = dict(extra)
    return found


def _suggested(trial: optuna.trial.BaseTrial, begun: Parameters, bounds: Mapping[str, Mapping[str, Any]]) -> Parameters:
    drawn: dict[str, Any] = {}
    for name, bound in bounds.items():
        low, high = bound["search"]
        if isinstance(getattr(begun, name), int):
            drawn[name] = trial.suggest_int(name, int(low), int(high), log=bound["log"])
        else:
            drawn[name] = trial.suggest_float(name, low, high, log=bound["log"])
    return Parameters.model_validate(begun.model_dump() | drawn)


def _log_loss(
    specification: Specification, parameters: Parameters, frame: pd.DataFrame, times: list[Moment], threads: int
) -> float:
    # Calibration does not change the order within a fold, so it is left out: no fold has so many positives. Folds
    # average out what seeds add.
    quick = parameters.model_copy(update={"calibration_positives": 10**9, "seeds": min(parameters.seeds, 2)})
    alone = {"parameters": quick, "baselines": {}, "gate_baseline": BASE_RATE}
    tested = backtest(specification.model_copy(update=alone), frame, times, threads=threads)
    # Pooled, so that a fold weighs what it holds; a proper score, so that it asks for good probabilities too.
    found = tested.metrics(draws=0).log_loss
    return float("inf") if found is None else found


def commit(name: str, search: Search) -> None:
    """Writes what was found where the specification reads it."""
    COMMITTED.mkdir(exist_ok=True)
    document = {"parameters": search.parameters.model_dump(), "evidence": dict(search.evidence)}
    (COMMITTED / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
