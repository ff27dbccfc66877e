"""What a propensity model is, said once: columns, windows, parameters; and which rows may teach it at a given moment.

The rule of time is here and nowhere else: a row may teach at a moment if its label window had closed by then, or,
where the day of the event is known, if its window was at least `min_elapsed_share` through, with what had been seen by
then. No fitting here.
"""

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

Moment = pd.Timestamp | date | str
Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

Kind = TypeVar("Kind", bound=BaseModel)

ALL_FEATURES: tuple[str, ...] = ()

COMMITTED = Path(__file__).parent / "parameters"


class TooLittleDataError(ValueError):
    """Not enough rows to learn from: what is there, and what is needed."""


def committed(name: str, kind: type[Kind]) -> Kind:
    """Parameters of a model as `make tune` found them, from `ml/parameters/<name>.json`; the file has the evidence too.

    Raises:
        ValueError: It holds a parameter that there is not, or a value out of its range.
    """
    return kind.model_validate(json.loads((COMMITTED / f"{name}.json").read_text(encoding="utf-8"))["parameters"])


def searched(low: float, high: float, log: bool = False) -> dict[str, JsonValue]:
    """Between which bounds `make tune` looks for a parameter, for `Field(json_schema_extra=…)`."""
    return {"search": [low, high], "log": log}


class Words(BaseModel):
    """How a feature is spoken of.

    Attributes:
        theme: What it is about; of features with one theme, an explanation names the strongest only, for all of them.
        text: A template with `{value}` and, where it helps, `{typical}` (the median of the rows trained on).
        kind: How the numbers are written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    theme: str
    text: str
    kind: Literal["number", "share", "category", "yes_no"] = "number"


class Parameters(BaseModel):
    """Hyper-parameters, each with its range and its reason."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seeds: Annotated[int, Field(ge=1, le=50)] = Field(
        default=5,
        description="LightGBM models that differ in their seed; the mean of their raw scores is steadier than one.",
    )
    rounds: Annotated[int, Field(ge=1, le=5000)] = Field(
        default=200, description="Trees per model.", json_schema_extra=searched(50, 400, log=True)
    )
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.03,
        description="Step per tree; small, for many small steps.",
        json_schema_extra=searched(0.01, 0.1, log=True),
    )
    num_leaves: Annotated[int, Field(ge=2, le=256)] = Field(
        default=8,
        description="Leaves per tree; few, as signal is weak.",
        json_schema_extra=searched(4, 31, log=True),
    )
    min_rows_in_leaf: Annotated[int, Field(ge=1)] = Field(
        default=100,
        description="Rows per leaf; many, as one customer is in many cut-offs and counts there once only.",
        json_schema_extra=searched(20, 400, log=True),
    )
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.3,
        description="Share of the features that a tree may use; low, as windows of one behaviour resemble each other.",
        json_schema_extra=searched(0.15, 1.0, log=False),
    )
    bagging_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.6,
        description="Share of the rows that a tree sees.",
        json_schema_extra=searched(0.4, 1.0, log=False),
    )
    l2: Annotated[float, Field(ge=0)] = Field(
        default=10.0, description="Shrinks the leaves towards zero.", json_schema_extra=searched(0.1, 100.0, log=True)
    )
    max_bin: Annotated[int, Field(ge=2, le=255)] = Field(
        default=127,
        description="Bins per feature; fewer are quicker.",
    )

    logistic_weight: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="Share of the logistic regression in the blend of raw scores; 0: trees alone, 1: logistic alone.",
    )
    logistic_c: Annotated[float, Field(gt=0)] = Field(
        default=0.003,
        description="Inverse strength of its L2 penalty.",
        json_schema_extra=searched(0.0003, 0.3, log=True),
    )
    quantiles: Annotated[int, Field(ge=10, le=1000)] = Field(
        default=100,
        description="Points of the empirical distribution that map a feature to a normal score for the regression.",
    )

    calibration_folds: Annotated[int, Field(ge=2, le=20)] = Field(
        default=2, description="Folds whose held-out predictions the calibration is fitted on."
    )
    calibration_fold_days: Annotated[int, Field(ge=1)] = Field(
        default=28,
        description="Days of cut-offs in a fold, newest last; its model knows what was known on its first day.",
    )
    calibration_seeds: Annotated[int, Field(ge=1, le=50)] = Field(
        default=1, description="LightGBM models per fold: one does."
    )
    calibration_positives: Annotated[int, Field(ge=2)] = Field(
        default=60, description="Rows of each class that a fold must be trained on, and that must be held out in all."
    )


class HoldOut(BaseModel):
    """How much is held out to judge by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cut_offs: Annotated[int, Field(ge=1)] = Field(
        default=1, description="So many of the newest cut-offs whose windows have closed, at least."
    )
    spacing_days: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Days between them at least: windows that overlap tell the same twice."
    )
    positives: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Rows with the event in all at least; more cut-offs are taken for them."
    )


class PromotionRule(BaseModel):
    """When a challenger becomes the champion."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min_rows: Annotated[int, Field(ge=1)] = Field(
        default=200, description="Rows in the hold-out without which nothing is known."
    )
    min_positives: Annotated[int, Field(ge=1)] = Field(default=20, description="Rows of each class in it.")
    min_advantage: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="By how much the lower end of the interval of the advantage over the baseline must be above 0.",
    )
    max_ece: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.03,
        description="Expected calibration error allowed; more only where perfect probabilities show as much by chance.",
    )


class Specification(BaseModel):
    """A propensity model: what it reads, what it predicts, over which windows, and how it is judged.

    A row is known from midnight of `time_column` on. Its label window is `window_days` long from there, or ends with
    the day in `window_end_column`. Without a time column all labelled rows are known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Name of the model, as in the registry.")
    label: str = Field(description="Column with 0 or 1; NULL where it is not known yet.")
    score: str = Field(description="Column that predictions are written to: a probability.")
    keys: tuple[str, ...] = Field(
        min_length=1, description="Columns that name a row; with the time column, exactly one."
    )
    group: str | None = Field(
        default=None, description="Key that several rows may share, resampled as a whole: the customer."
    )

    features: tuple[str, ...] | None = Field(
        default=None, description="Columns to learn from; without any, all but the other named ones."
    )
    exclude: tuple[str, ...] = Field(
        default=(), description="Columns not to learn from, where `features` is not given."
    )
    categorical: tuple[str, ...] = Field(
        default=(), description="Those features whose values are names; unknown is a value."
    )
    zero_if_null: tuple[str, ...] = Field(
        default=(), description="Those features, counts and sums, whose NULL means none."
    )
    words: Mapping[str, Words] = Field(default_factory=dict, description="How features are spoken of.")

    time_column: str | None = Field(default=None, description="Day of the cut-off.")
    window_days: int | None = Field(default=None, ge=1, description="Days in which the label comes about.")
    window_end_column: str | None = Field(default=None, description="Or the last day on which it does.")
    event_column: str | None = Field(
        default=None, description="Day on which the label became 1: lets half-open windows teach."
    )
    closed_column: str | None = Field(
        default=None, description="Whether the label is final; where it is not, it is not looked at."
    )
    min_elapsed_share: float = Field(
        default=1.0, gt=0, le=1, description="Share of its window after which an open row teaches."
    )

    activity_column: str | None = Field(default=None, description="Days since the last activity, for eligibility.")
    activity_window_days: int | None = Field(default=None, ge=1, description="Eligible: active within so many days.")
    history_column: str | None = Field(
        default=None, description="Days since a customer was first seen; its maximum is a cut-off's history."
    )
    min_history_days: int = Field(default=0, ge=0, description="Cut-offs with less history than this do not teach.")
    min_mature_cutoffs: int = Field(
        default=4, ge=1, description="Fewer than so many such cut-offs: the young ones teach after all."
    )

    min_rows: int = Field(default=200, ge=2, description="Labelled rows without which nothing is fitted.")
    min_positives: int = Field(default=20, ge=2, description="Rows of each class without which nothing is fitted.")

    baselines: Mapping[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Columns of the logistic regressions to beat, by name; () stands for all features.",
    )
    gate_baseline: str = Field(default="base_rate", description="The one of them that the model must beat to be used.")

    hold_out: HoldOut = Field(default_factory=HoldOut, description="What it is judged on.")
    promotion: PromotionRule = Field(default_factory=lambda: PromotionRule(), description="Limits of gate 3.")
    purpose: str = Field(default="", description="What it is for, and what not; for the model card.")

    parameters: Parameters = Field(default_factory=lambda: Parameters())
    seed: int = Field(default=360, ge=0, description="Everything that is drawn at random is drawn from this.")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.time_column is not None and (self.window_days is None) == (self.window_end_column is None):
            raise ValueError(f"{self.name}: a time column needs either window_days or window_end_column, and not both")
        if self.time_column is None and (self.window_days or self.window_end_column or self.event_column):
            raise ValueError(f"{self.name}: windows need a time_column")
        if self.min_elapsed_share < 1 and self.event_column is None:
            raise ValueError(
                f"{self.name}: min_elapsed_share below 1 needs event_column, the day on which the label became 1"
            )
        if (self.activity_column is None) != (self.activity_window_days is None):
            raise ValueError(f"{self.name}: activity_column and activity_window_days go together")
        if self.min_history_days and self.history_column is None:
            raise ValueError(f"{self.name}: min_history_days needs history_column")
        if self.gate_baseline != "base_rate" and self.gate_baseline not in self.baselines:
            raise ValueError(f"{self.name}: gate_baseline {self.gate_baseline!r} is not one of the baselines")
        if self.features is not None:
            forbidden = {self.label, self.event_column, self.window_end_column} & set(self.features)
            if forbidden:
                raise ValueError(
                    f"{self.name}: {', '.join(map(str, sorted(map(str, forbidden))))} would tell the label"
                )
            strange = (set(self.categorical) | set(self.zero_if_null)) - set(self.features)
            if strange:
                raise ValueError(
                    f"{self.name}: {', '.join(sorted(strange))} are categorical or zero_if_null but no features"
                )
        return self

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns that name a row: the keys, and the time column if it is none of them."""
        return (
            self.keys if self.time_column is None or self.time_column in self.keys else (*self.keys, self.time_column)
        )

    def feature_columns(self, frame: pd.DataFrame) -> tuple[str, ...]:
        """The features, in an order that does not depend on the frame's.

        Raises:
            ValueError: There are none.
        """
        if self.features is not None:
            return self.features
        reserved = {*self.keys, *self.exclude, self.label, self.time_column, self.window_end_column, self.event_column}
        reserved |= {self.closed_column, self.group}
        features = tuple(sorted(str(column) for column in frame.columns if column not in reserved))
        if not features:
            raise ValueError(
                f"{self.name}: the frame has no column to learn from beside {', '.join(map(str, frame.columns))}"
            )
        return features

    def narrowed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The columns of the frame that the model reads, without the others; what is missing stays missing."""
        read = {*self.identity, *self.feature_columns(frame), self.label, self.group, self.window_end_column}
        read |= {self.event_column, self.closed_column, self.activity_column, self.history_column}
        return frame[[column for column in frame.columns if column in read]]


def require_columns(frame: pd.DataFrame, columns: tuple[str, ...] | list[str], what: str) -> None:
    """Raises a ValueError that names the columns that `frame` lacks or has twice."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(
            f"{what}: the frame has no column {', '.join(missing)}; build it with the same features as for training"
        )
    twice = [column for column in columns if (frame.columns == column).sum() > 1]
    if twice:
        raise ValueError(f"{what}: the frame has more than one column {', '.join(twice)}")


def days(frame: pd.DataFrame, column: str) -> "pd.Series[pd.Timestamp]":
    """A column of days as timestamps without a zone: the days of the business time zone, as they stand."""
    moments = pd.to_datetime(frame[column])
    return moments.dt.tz_localize(None) if isinstance(moments.dtype, pd.DatetimeTZDtype) else moments


def eligible(specification: Specification, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that the model speaks of: active within the activity window. All, where there is none."""
    if specification.activity_column is None:
        return frame
    require_columns(frame, [specification.activity_column], specification.name)
    return frame[
        (frame[specification.activity_column] <= specification.activity_window_days).fillna(False).astype(bool)
    ]


def closes_at(specification: Specification, frame: pd.DataFrame) -> "pd.Series[pd.Timestamp]":
    """For each row, the midnight from which on its label is known in full.

    Raises:
        ValueError: The specification has no time column, or the frame lacks a column.
    """
    if specification.time_column is None:
        raise ValueError(f"{specification.name} has no time column, so nothing closes")
    if specification.window_end_column is not None:
        require_columns(frame, [specification.window_end_column], specification.name)
        return days(frame, specification.window_end_column) + pd.Timedelta(days=1)
    require_columns(frame, [specification.time_column], specification.name)
    return days(frame, specification.time_column) + pd.Timedelta(days=specification.window_days or 0)


def labels_of(specification: Specification, frame: pd.DataFrame) -> "pd.Series[float]":
    """The label as 0.0, 1.0 or NaN, on the frame's index.

    Raises:
        ValueError: There is no such column, or it holds something else.
    """
    require_columns(frame, [specification.label], specification.name)
    try:
        label = pd.Series(
            pd.to_numeric(frame[specification.label]).to_numpy(dtype=np.float64, na_value=np.nan), index=frame.index
        )
    except (TypeError, ValueError):
        label = pd.Series(np.inf, index=frame.index)
    if specification.closed_column is not None:
        require_columns(frame, [specification.closed_column], specification.name)
        label = label.where(frame[specification.closed_column].fillna(False).astype(bool))
    strange = label.notna() & ~label.isin([0.0, 1.0])
    if strange.any():
        raise ValueError(
            f"{specification.name}: the label {specification.label} must be 0, 1 or NULL;"
            f" {int(strange.sum())} of {len(frame)} rows hold something else"
        )
    return label


def newest_closing(specification: Specification, frame: pd.DataFrame) -> pd.Timestamp | None:
    """The first midnight at which every labelled row's window has closed; None without a time column or labels."""
    if specification.time_column is None:
        return None
    closings = closes_at(specification, frame)[labels_of(specification, frame).notna()]
    return None if closings.empty else pd.Timestamp(closings.max())


def known_at(
    specification: Specification, frame: pd.DataFrame, moment: Moment | None, closed_only: bool = False
) -> tuple[pd.DataFrame, Labels]:
    """The rows that may teach at `moment`, with the labels as they were known then.

    Args:
        specification: Says what a window is and when it has closed.
        frame: Feature rows, in any order; those of later days are left out.
        moment: A midnight; nothing from it on has been seen. None, where there is no time column.
        closed_only: Leave open windows out even where the specification lets them teach.

    Returns:
        Eligible rows in the order of their identity, and their labels, int64 of shape (rows,).

    Raises:
        ValueError: A column is missing, the label is not binary, or two rows have the same identity.
    """
    require_columns(frame, list(specification.identity), specification.name)
    frame = eligible(specification, frame)
    label = labels_of(specification, frame)
    known = label.notna()
    if specification.time_column is not None:
        if moment is None:
            raise ValueError(f"{specification.name}: say as of which day")
        now = pd.Timestamp(moment)
        start, closing = days(frame, specification.time_column), closes_at(specification, frame)
        closed = closing <= now
        known &= closed
        if specification.event_column is not None and specification.min_elapsed_share < 1 and not closed_only:
            require_columns(frame, [specification.event_column], specification.name)
            open_enough = (
                ~closed & (start < now) & ((now - start) >= specification.min_elapsed_share * (closing - start))
            )
            seen = days(frame, specification.event_column) < now
            label = label.where(~open_enough, seen.astype(np.float64))
            known |= open_enough
        known &= _mature(specification, frame, known)
    rows = frame[known].assign(**{specification.label: label[known]})
    rows = rows.sort_values(list(specification.identity), kind="stable")
    if rows.duplicated(list(specification.identity)).any():
        double = rows.loc[rows.duplicated(list(specification.identity)), list(specification.identity)].iloc[0]
        raise ValueError(
            f"{specification.name}: {', '.join(specification.identity)} must name one row;"
            f" {double.to_dict()} names several"
        )
    return rows, rows[specification.label].to_numpy(dtype=np.int64)


def _mature(specification: Specification, frame: pd.DataFrame, known: "pd.Series[bool]") -> "pd.Series[bool]":
    everything = pd.Series(True, index=frame.index)
    if specification.history_column is None or specification.time_column is None or not specification.min_history_days:
        return everything
    require_columns(frame, [specification.history_column], specification.name)
    time = days(frame, specification.time_column)
    mature = frame[specification.history_column].groupby(time).transform("max") >= specification.min_history_days
    enough = time[known & mature].nunique() >= specification.min_mature_cutoffs
    return mature if enough else everything


def shortages(specification: Specification, rows: int, positives: int) -> tuple[str, ...]:
    """What a training set lacks: a sentence each, with what is there and what is needed; none where it suffices."""
    said = []
    for count, needed, what in (
        (rows, specification.min_rows, "labelled rows whose window has closed"),
        (positives, specification.min_positives, f"of them with {specification.label} = 1"),
        (rows - positives, specification.min_positives, f"of them with {specification.label} = 0"),
    ):
        if count < needed:
            said.append(f"{count} {what}, needed are {needed}")
    return tuple(said)


def preflight(specification: Specification, frame: pd.DataFrame, as_of: Moment | None = None) -> tuple[str, ...]:
    """Whether there is enough to learn from, before anything is fitted.

    Args:
        specification: The model.
        frame: Its feature rows with labels.
        as_of: The day at which it would be fitted; without one, when the last labelled window closed.

    Returns:
        What is missing, one sentence each; nothing where the model can be fitted.
    """
    moment = as_of if as_of is not None else newest_closing(specification, frame)
    if specification.time_column is not None and moment is None:
        return shortages(specification, 0, 0)
    _, label = known_at(specification, frame, moment)
    return shortages(specification, len(label), int(label.sum()))


def holdout_times(
    specification: Specification, frame: pd.DataFrame, as_of: Moment, hold_out: HoldOut | None = None
) -> list[Moment]:
    """The newest cut-offs whose label windows had closed at `as_of`, oldest first: those to test on.

    A cut-off before which there is too little to learn from is none of them.

    Args:
        specification: With a time column.
        frame: Feature rows with labels.
        as_of: A midnight.
        hold_out: How many cut-offs, how far apart; the specification's own where None. If there are fewer, all of them.
    """
    if specification.time_column is None:
        raise ValueError(f"{specification.name} has no time column, so no cut-off to test on")
    frame = eligible(specification, frame)
    label = labels_of(specification, frame)
    by_time = pd.DataFrame(
        {"time": days(frame, specification.time_column), "closing": closes_at(specification, frame), "label": label}
    )[label.notna()]
    table = (
        by_time.groupby("time").agg(closing=("closing", "max"), positives=("label", "sum")).sort_index(ascending=False)
    )
    wanted = hold_out or specification.hold_out
    taken: list[Moment] = []
    found, last = 0.0, pd.Timestamp.max
    for time, closing, happened in table.itertuples():
        if len(taken) >= wanted.cut_offs and found >= wanted.positives:
            break
        if closing <= pd.Timestamp(as_of) and (last - time) >= pd.Timedelta(days=wanted.spacing_days):
            if preflight(specification, frame, time):
                break  # too little to learn from before it, and less before older ones
            taken.append(time)
            found, last = found + happened, time
    return taken[::-1]


def spoken(specification: Specification, feature: str) -> Words:
    """The words of a feature; its own name, spaced, where nobody gave any."""
    kind: Literal["number", "category"] = "category" if feature in specification.categorical else "number"
    plain = Words(
        theme=feature,
        text=feature.replace("_", " ") + ": {value}" + ("" if kind == "category" else " (typical: {typical})"),
        kind=kind,
    )
    return specification.words.get(feature, plain)


def jsonable(specification: Specification) -> dict[str, Any]:
    """The specification as JSON types; `Specification.model_validate` takes it back."""
    return specification.model_dump(mode="json")
