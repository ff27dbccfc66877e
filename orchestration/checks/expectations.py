"""Great Expectations, made to fail closed.

On its own an expectation passes on an empty frame, an all-NULL column and +inf, an empty suite passes, and results
carry raw values. Here every frame is first asked for rows, values and finite numbers, a rule that raises has failed,
and a result keeps counts and keys alone. The library takes seconds to import, so that happens when a suite is run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from orchestration.checks.records import CheckResult

if TYPE_CHECKING:
    from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext

SHOWN_KEYS = 5
GUARDS = ("has_rows", "columns_have_values", "numbers_are_finite")


@dataclass(frozen=True)
class Rule:
    """One expectation, by name, so that listing the rules does not import the library.

    Attributes:
        name: What the check goes by.
        words: The rule in words, for the message when it is broken.
        expectation: Class in `great_expectations.expectations`.
        arguments: What the class takes.
    """

    name: str
    words: str
    expectation: str
    arguments: Mapping[str, Any]


def between(name: str, words: str, column: str, least: float | None = None, most: float | None = None) -> Rule:
    """The rule that no value of a column is below `least` or above `most`."""
    return Rule(name, words, "ExpectColumnValuesToBeBetween", {"column": column, "min_value": least, "max_value": most})


@dataclass(frozen=True)
class Suite:
    """The rules of one frame.

    Attributes:
        name: Prefix of the names of its checks.
        gate: The gate that it belongs to.
        table_name: The table that the frame stands for, with its schema.
        key: Columns that name a row in a message; never personal ones.
        remedy: What to do when a rule is broken.
        rules: The rules; the guards come by themselves.
        may_be_empty: Columns that may be all NULL.
        severity: "error" blocks, "warn" reports.

    Raises:
        ValueError: There are no rules, or two of one name: such a suite could not fail as it should.
    """

    name: str
    gate: str
    table_name: str
    key: Sequence[str]
    remedy: str
    rules: Sequence[Rule]
    may_be_empty: Sequence[str] = field(default=())
    severity: str = "error"

    def __post_init__(self) -> None:
        if not self.rules:
            raise ValueError(f"suite {self.name} has no rules; a gate without rules would pass anything")
        if len(set(self.check_names)) < len(self.check_names):
            raise ValueError(f"suite {self.name} names two rules alike: {sorted(self.check_names)}")

    @property
    def check_names(self) -> list[str]:
        """Names of all checks that the suite comes to, guards included."""
        return [f"{self.name}_{rule}" for rule in (*GUARDS, *(rule.name for rule in self.rules))]

    def validate(self, frame: pd.DataFrame, content_hash: str | None) -> list[CheckResult]:
        """A result per guard and rule, for a frame of a table with this content."""

        def result(name: str, problem: str | None, unexpected_rows: int | None = None) -> CheckResult:
            return CheckResult(
                gate=self.gate,
                check_name=f"{self.name}_{name}",
                table_name=self.table_name,
                passed=problem is None,
                severity=self.severity,
                row_count=len(frame),
                unexpected_rows=unexpected_rows,
                message=None if problem is None else f"{problem}. {self.remedy}",
                content_hash=content_hash,
            )

        problems = _broken_guards(frame, self.may_be_empty)
        results = [result(guard, problems.get(guard)) for guard in GUARDS]
        if "has_rows" in problems:
            return [*results, *(result(rule.name, "not decided, as there are no rows") for rule in self.rules)]
        validations = _run(self.name, self.rules, frame)
        for rule in self.rules:
            validation = validations.get(rule.name)
            if validation is None:
                results.append(result(rule.name, f"{rule.words}: the rule did not run"))
            elif validation.success:
                results.append(result(rule.name, None, 0))
            else:
                found, unexpected_rows = _explain(frame, validation, self.key)
                results.append(result(rule.name, f"{rule.words}: {found}", unexpected_rows))
        return results


def _broken_guards(frame: pd.DataFrame, may_be_empty: Sequence[str]) -> dict[str, str]:
    """What is wrong with the frame as a whole, by guard."""
    if frame.empty:
        return {"has_rows": "the table has no rows"}
    problems = {}
    all_null = [name for name in frame.columns if name not in may_be_empty and frame[name].isna().all()]
    if all_null:
        problems["columns_have_values"] = f"no value at all in {', '.join(all_null)}"
    numbers = frame.select_dtypes("number")
    not_finite = [str(name) for name in numbers if np.isinf(numbers[name].astype("float64")).any()]
    if not_finite:
        problems["numbers_are_finite"] = f"infinite values in {', '.join(not_finite)}"
    return problems


@cache
def _context() -> EphemeralDataContext:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def _run(name: str, rules: Sequence[Rule], frame: pd.DataFrame) -> dict[str, Any]:
    """GX's validation of each rule, by the rule's name."""
    import great_expectations as gx
    import great_expectations.expectations as gxe

    source = _context().data_sources.add_or_update_pandas(name)
    batch = (
        source.add_dataframe_asset(name)
        .add_batch_definition_whole_dataframe("whole")
        .get_batch({"dataframe": frame.reset_index(drop=True)})
    )
    expectations = [getattr(gxe, rule.expectation)(**rule.arguments, meta={"rule": rule.name}) for rule in rules]
    outcome: Any = batch.validate(
        gx.ExpectationSuite(name=name, expectations=expectations), result_format={"result_format": "COMPLETE"}
    )
    return {str(validation.expectation_config.meta["rule"]): validation for validation in outcome.results}


def _explain(frame: pd.DataFrame, validation: Any, key: Sequence[str]) -> tuple[str, int | None]:
    """What a broken rule met, in keys and counts but never in values, and how many rows break it."""
    info = validation.exception_info
    records = [info] if "raised_exception" in info else list(info.values())
    # The error's own text may quote a value.
    if any(record.get("raised_exception") for record in records):
        return "it could not be decided; look whether its columns are there and of the right type", None
    rows = validation.result.get("unexpected_index_list")
    if rows:
        return _some_keys(frame, rows, key), len(rows)
    observed = validation.result.get("observed_value")
    # A figure tells nothing about a person; a text or a list may be raw values.
    return (f"found {observed}" if isinstance(observed, (int, float, np.number)) else "the column as a whole"), None


def _some_keys(frame: pd.DataFrame, rows: Sequence[int], key: Sequence[str]) -> str:
    shown = frame.reset_index(drop=True).loc[list(rows)[:SHOWN_KEYS], list(key)].to_dict("records")
    text = "; ".join(", ".join(f"{name}={value}" for name, value in row.items()) for row in shown)
    return text if len(rows) <= SHOWN_KEYS else f"{text}; and {len(rows) - SHOWN_KEYS} more"
