"""The search for parameters: bounded, seeded, forward in time, and committed where the specification reads it."""

import json
from pathlib import Path

import pandas as pd
import pytest

from ml import specification as specification_module
from ml import tuning
from ml.churn import churn_specification
from ml.response import response_specification
from ml.specification import Parameters, TooLittleDataError, committed
from ml.tuning import commit, tune
from tests.unit.ml.ml_frames import SMALL, make_timed_specification

AS_OF = "2024-05-05"


def test_the_search_is_seeded_bounded_and_begins_with_what_is_in_force(timed: pd.DataFrame) -> None:
    spec = make_timed_specification(parameters=SMALL.model_copy(update={"rounds": 50}))
    first, second = (tune(spec, timed, AS_OF, trials=3, threads=1) for _ in range(2))
    assert first == second
    evidence = first.evidence
    assert 0 < evidence["best"] <= evidence["before"] < 0.7, "no worse than before, better than a coin"
    assert evidence["trials"] == 3 and len(evidence["folds"]) >= 2 and evidence["nothing_seen_from"] == AS_OF
    for name, bound in evidence["bounds"].items():
        low, high = bound["search"]
        assert low <= getattr(first.parameters, name) <= high
    assert first.parameters.seeds == spec.parameters.seeds, "what is not searched stays"


def test_only_parameters_that_matter_are_searched() -> None:
    trees, regression = tuning._bounds(Parameters()), tuning._bounds(Parameters(logistic_weight=1))
    assert "num_leaves" in trees and "logistic_c" not in trees
    assert list(regression) == ["logistic_c"]
    assert set(tuning._bounds(Parameters(logistic_weight=0.5))) == set(trees) | set(regression)


def test_later_days_are_not_looked_at(timed: pd.DataFrame) -> None:
    spec = make_timed_specification(parameters=SMALL.model_copy(update={"rounds": 50}))
    later = timed["as_of_date"] >= "2024-04-01"
    changed = timed.assign(label=timed["label"].where(~later, 0), a=timed["a"].where(~later, 9.0))
    assert tune(spec, timed, "2024-04-01", 2, 1) == tune(spec, changed, "2024-04-01", 2, 1)


def test_too_few_cut_offs_are_said(timed: pd.DataFrame) -> None:
    with pytest.raises(TooLittleDataError, match="closed cut-offs to test on as of 2024-02-01, needed are 2"):
        tune(make_timed_specification(), timed, "2024-02-01", 2, 1)


def test_what_was_found_is_read_back(timed: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_timed_specification(parameters=SMALL.model_copy(update={"rounds": 50}))
    found = tune(spec, timed, AS_OF, trials=2, threads=1)
    for module in (tuning, specification_module):
        monkeypatch.setattr(module, "COMMITTED", tmp_path)
    commit("demo", found)
    assert committed("demo", Parameters) == found.parameters
    assert json.loads((tmp_path / "demo.json").read_text())["evidence"]["trials"] == 2


def test_committed_parameters_have_their_evidence() -> None:
    for name, made in {"churn": churn_specification(), "response": response_specification()}.items():
        document = json.loads((specification_module.COMMITTED / f"{name}.json").read_text())
        assert made.parameters == Parameters.model_validate(document["parameters"])
        assert document["evidence"]["best"] <= document["evidence"]["before"]
