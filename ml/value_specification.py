"""What customer value is, said once: columns, window, parameters, limits; and which rows may teach at a moment."""

from typing import Annotated, Self

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ml.feature_words import HABITS, RHYTHM
from ml.preprocessing import finite_numbers
from ml.specification import HoldOut, Moment, Scores, Specification, days, require_columns

WINDOW_DAYS = 84


class ValueParameters(BaseModel):
    """Hyper-parameters, each with its range and its reason."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kernel_weight: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, description="Share of the kernel regression in the blend; from .35 to .65 makes no difference."
    )
    kernel_points: Annotated[int, Field(ge=2, le=2000)] = Field(
        default=300, description="Rows drawn to stand for all in the kernel; 600 are no better, and slower."
    )
    kernel_gamma: Annotated[float, Field(gt=0, le=10)] = Field(
        default=0.09,
        description="Sharpness of the kernel, divided by the number of columns; low: nearly a straight line.",
    )
    kernel_ridge: Annotated[float, Field(gt=0)] = Field(default=1.0, description="Shrinks the kernel regression.")
    seeds: Annotated[int, Field(ge=1, le=50)] = Field(
        default=2, description="LightGBM models that differ in their seed; the mean is steadier than one."
    )
    rounds: Annotated[int, Field(ge=1, le=5000)] = Field(default=150, description="Trees per model.")
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(default=0.03, description="Step per tree.")
    num_leaves: Annotated[int, Field(ge=2, le=256)] = Field(
        default=8, description="Leaves per tree, each with a line; 4 and 16 are worse."
    )
    min_rows_in_leaf: Annotated[int, Field(ge=1)] = Field(
        default=100, description="Rows per leaf; many, as one customer is in many cut-offs and counts there once only."
    )
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.3, description="Share of the features that a tree may use; low, as they resemble each other."
    )
    bagging_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.6, description="Share of the rows that a tree sees."
    )
    l2: Annotated[float, Field(ge=0)] = Field(default=100.0, description="Shrinks the leaves towards zero.")
    max_bin: Annotated[int, Field(ge=2, le=255)] = Field(default=127, description="Bins per feature.")

    teaching_spacing_days: Annotated[int, Field(ge=1)] = Field(
        default=14,
        description="Days between cut-offs that teach, at least: neighbours share nearly all of their windows, and half"
        " of them teach as much as all.",
    )
    max_rows: Annotated[int, Field(ge=1000)] = Field(
        default=200_000, description="Rows that teach at most; beyond, whole customers are drawn. Bounds the memory."
    )
    level_min_cut_offs: Annotated[int, Field(ge=2)] = Field(
        default=4, description="Closed cut-offs with a full last window without which no change of level is learned."
    )
    interval_days: Annotated[int, Field(ge=0)] = Field(
        default=28, description="Newest closed cut-offs within so many days are forecast anew to set the interval."
    )
    interval_bins: Annotated[int, Field(ge=1, le=200)] = Field(
        default=20, description="Bins of the prediction, each with an interval of its own."
    )
    interval_min_rows: Annotated[int, Field(ge=10)] = Field(
        default=50, description="Rows per bin: five beyond either end of the interval."
    )


class ValueRule(BaseModel):
    """When a challenger becomes the champion."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min_rows: Annotated[int, Field(ge=10)] = Field(
        default=500, description="Rows in the hold-out without which nothing is known."
    )
    min_advantage: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="By how much the lower end of the interval of the advantage over the best baseline must be above"
        " 0, in normalised Gini.",
    )
    max_bias: Annotated[float, Field(gt=0)] = Field(
        default=0.15, description="Total predicted over total actual may be off by this: a quarter moves that much."
    )


class ValueSpecification(BaseModel):
    """What customer value is: what it reads, over which window, how it is learned and judged.

    A row is known from midnight of `time_column` on; its label is final `window_days` later.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(default="value", description="Name of the model, as in the registry.")
    keys: tuple[str, ...] = Field(default=("customer_id",), min_length=1, description="Who a row is about.")
    time_column: str = Field(default="as_of_date", description="Day of the cut-off.")
    label: str = Field(
        default="net_sales_value_window", description="Net sales of the window; NULL where it is not closed."
    )
    score: str = Field(default="predicted_clv", description="Column that predictions are written to: money.")
    window_days: int = Field(default=WINDOW_DAYS, ge=1, le=3650, description="Days ahead.")
    last_window_column: str = Field(
        default="net_sales_84d", description="Net sales of the window of the same length before the cut-off."
    )
    history_column: str = Field(
        default="tenure_days", description="Days since a customer was first seen; its maximum is a cut-off's history."
    )
    features: tuple[str, ...] = Field(min_length=1, description="Columns the trees learn from; NULL is a value.")
    money_features: tuple[str, ...] = Field(
        default=(), description="Those of them that the kernel regression reads: money and visits; NULL is 0."
    )
    key_account_label: str = Field(
        default="becomes_key_account", description="Whether the customer then was a key account; NULL, or not there."
    )
    key_account_score: str = Field(default="key_account_probability", description="Column for its probability.")
    key_account_share: float = Field(
        default=0.33, gt=0, lt=1, description="Share of the sales that key accounts carry; the label is made with it."
    )
    visits_column: str = Field(default="count_visits", description="Visits so far, for the baseline BG/NBD.")
    recency_column: str = Field(default="recency_days", description="Days since the last visit, for the same.")
    visit_value_column: str = Field(default="mean_visit_net_sales", description="Net sales per visit, for the same.")

    min_rows: int = Field(default=500, ge=20, description="Closed rows without which nothing is fitted.")
    min_buyers: int = Field(default=100, ge=2, description="Of them with net sales above 0.")
    min_cut_offs: int = Field(default=2, ge=1, description="Closed cut-offs without which nothing is fitted.")
    min_history_days: int = Field(default=90, ge=0, description="Cut-offs with less history than this do not teach.")
    min_mature_cut_offs: int = Field(
        default=4, ge=1, description="Fewer than so many such cut-offs: the young ones teach after all."
    )

    hold_out: HoldOut = Field(
        default_factory=lambda: HoldOut(cut_offs=2, spacing_days=28), description="What it is judged on."
    )
    promotion: ValueRule = Field(default_factory=lambda: ValueRule(), description="Limits of gate 3.")
    purpose: str = Field(
        default="Whom to serve well and how much it may cost: net sales to come, customer by customer, and in total"
        " about the level of the last window. It knows of no campaign, price or season to come.",
        description="What it is for, and what not; for the model card.",
    )
    parameters: ValueParameters = Field(default_factory=lambda: ValueParameters())
    seed: int = Field(default=360, ge=0, description="Everything that is drawn at random is drawn from this.")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        strange = set(self.money_features) - set(self.features)
        if strange:
            raise ValueError(f"{self.name}: {', '.join(sorted(strange))} are money_features but no features")
        telling = {self.label, self.key_account_label} & set(self.features)
        if telling:
            raise ValueError(f"{self.name}: {', '.join(sorted(telling))} would tell the label")
        if not self.money_features and self.parameters.kernel_weight == 1:
            raise ValueError(f"{self.name}: kernel_weight 1 leaves out the trees, and there are no money_features")
        return self

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns that name a row."""
        return (*self.keys, self.time_column)

    @property
    def columns(self) -> tuple[str, ...]:
        """All that training and its baselines read, each once."""
        read = (*self.identity, *self.features, self.label, self.key_account_label)
        read += (self.last_window_column, self.history_column)
        return tuple(dict.fromkeys((*read, self.visits_column, self.recency_column, self.visit_value_column)))

    def for_preprocessing(self) -> Specification:
        """The part of it that a `Preprocessor` reads."""
        return Specification(
            name=self.name,
            label=self.label,
            score=self.score,
            keys=self.keys,
            features=self.features,
            time_column=self.time_column,
            window_days=self.window_days,
        )


def money(specification: ValueSpecification, frame: pd.DataFrame, column: str) -> Scores:
    """A column of numbers, shape (rows,); NULL is NaN.

    Raises:
        ValueError: It is missing, infinite or no number.
    """
    require_columns(frame, [column], specification.name)
    return finite_numbers(frame, column, specification.name)


def closed_rows(specification: ValueSpecification, frame: pd.DataFrame, as_of: Moment) -> pd.DataFrame:
    """The rows whose window had closed by `as_of`, in the order of their identity; the label as a float.

    Raises:
        ValueError: A column is missing, the label is infinite or no number, or two rows have the same identity.
    """
    spec = specification
    require_columns(frame, [*spec.identity, spec.label], spec.name)
    closes = days(frame, spec.time_column) + pd.Timedelta(days=spec.window_days)
    frame = frame[(closes <= pd.Timestamp(as_of)).to_numpy()]
    label = money(spec, frame, spec.label)
    return ordered(spec, frame.assign(**{spec.label: label})[~np.isnan(label)])


def ordered(specification: ValueSpecification, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of their identity.

    Raises:
        ValueError: Two have the same.
    """
    identity = list(specification.identity)
    rows = rows.sort_values(identity, kind="stable")
    double = rows.duplicated(identity)
    if double.any():
        raise ValueError(
            f"{specification.name}: {', '.join(identity)} must name one row;"
            f" {rows.loc[double, identity].iloc[0].to_dict()} names several"
        )
    return rows


def shortages(specification: ValueSpecification, closed: pd.DataFrame) -> tuple[str, ...]:
    """What closed rows lack to learn from: a sentence each, with what is there and what is needed; or nothing."""
    spec = specification
    buyers, cut_offs = int((closed[spec.label] > 0).sum()), int(closed[spec.time_column].nunique())
    return shortages_of(spec, len(closed), buyers, cut_offs)


def shortages_of(specification: ValueSpecification, rows: int, buyers: int, cut_offs: int) -> tuple[str, ...]:
    """The same, of so many closed rows, of them with net sales, of so many cut-offs."""
    spec = specification
    return tuple(
        f"{count} {what}, needed are {needed}"
        for count, needed, what in (
            (rows, spec.min_rows, "labelled rows whose window has closed"),
            (buyers, spec.min_buyers, f"of them with {spec.label} above 0"),
            (cut_offs, spec.min_cut_offs, "cut-offs whose window has closed"),
        )
        if count < needed
    )


def apart(times: "pd.Series[pd.Timestamp]", spacing_days: int) -> list[pd.Timestamp]:
    """Of these days the newest, and before it those that are at least `spacing_days` from each other; newest first."""
    taken: list[pd.Timestamp] = []
    for time in sorted(pd.to_datetime(times.unique()), reverse=True):
        if not taken or (taken[-1] - time) >= pd.Timedelta(days=spacing_days):
            taken.append(pd.Timestamp(time))
    return taken


# Money and visits by window, and how steady they are: what the kernel regression reads.
MONEY = (
    *(name for name in RHYTHM if "net_sales" in name or "visits" in name),
    *(name for name in HABITS if "net_sales" in name or name.startswith(("count_large_visits", "count_coupon_visits"))),
    *("recency_days", "tenure_days", "mean_gap_days", "sd_gap_days"),
    *("count_active_weeks_12w", "count_active_weeks_26w", "count_categories"),
)


def value_specification(window_days: int = WINDOW_DAYS, key_account_share: float = 0.33) -> ValueSpecification:
    """The committed one.

    Args:
        window_days: Days ahead. The label in the frame must be made with the same, and there must be a feature
            `net_sales_<days>d`.
        key_account_share: Share of the sales that key accounts carry; as in their label.

    Raises:
        ValueError: There is no such feature.
    """
    column = f"net_sales_{window_days}d"
    if column not in RHYTHM:
        known = ", ".join(name[10:-1] for name in RHYTHM if name.startswith("net_sales_") and name[10:-1].isdigit())
        raise ValueError(
            f"value: no feature {column} to take the last window of {window_days} days from; there is one for {known}."
            " Choose one of these, or add the feature and its words"
        )
    return ValueSpecification(
        features=(*RHYTHM, *HABITS),
        money_features=MONEY,
        window_days=window_days,
        last_window_column=column,
        key_account_share=key_account_share,
    )
