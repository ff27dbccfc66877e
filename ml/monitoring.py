"""How models do after they have been put to work: drift of features and scores, and skill once what came is known.

Pure functions of numbers. What is read from where, and what follows from it, is decided elsewhere.
"""

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Numbers = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Status = Literal["ok", "warn", "block"]

BINS = 10
# What a bin is taken to hold at least: an empty one of many rows would else count the more, the more rows there are.
LEAST_SHARE = 0.0001
# Metrics of which less is better; of all others more is.
ERRORS = ("wape", "ece", "brier")
# An area under the curve of one half is no skill at all.
NO_SKILL = {"roc_auc": 0.5}


class Bins(BaseModel):
    """Quantile bins of a feature, and the rows that they were made of in each; the last one is of NULL."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, values: Numbers, bins: int) -> Self:
        """Bins of equal count, fewer where values repeat; one where there is no value."""
        known = values[~np.isnan(values)]
        inner = np.unique(np.quantile(known, np.arange(1, bins) / bins)) if len(known) else np.zeros(0)
        made = cls(edges=tuple(map(float, inner)), counts=())
        return cls(edges=made.edges, counts=tuple(map(int, made.count(values))))

    def count(self, values: Numbers) -> Counts:
        """How many values fall in each bin, shape (bins + 1,)."""
        places = np.where(np.isnan(values), len(self.edges) + 1, np.searchsorted(self.edges, values))
        return np.bincount(places, minlength=len(self.edges) + 2)

    def psi(self, values: Numbers) -> float:
        """Population stability index against those rows: sum of (q - p) ln(q / p), half a row added to each bin.

        Siddiqi 2006, "Credit risk scorecards", p. 137. A bin holds LEAST_SHARE at least.
        """
        p, q = np.asarray(self.counts) + 0.5, self.count(values) + 0.5
        p, q = np.maximum(p / p.sum(), LEAST_SHARE), np.maximum(q / q.sum(), LEAST_SHARE)
        return float(((q - p) * np.log(q / p)).sum())

    def drift(self, values: Numbers) -> float:
        """The index beyond chance: less three times what two samples of one population show on average, at least 0.

        That average is (bins - 1)(1 / rows + 1 / other rows): Yurdakul 2018, "Statistical properties of population
        stability index", ch. 3. Bins that are empty in both do not count.
        """
        count = self.count(values)
        bins = int(((np.asarray(self.counts) > 0) | (count > 0)).sum())
        chance = (bins - 1) * (1 / sum(self.counts) + 1 / int(count.sum()))
        return max(0.0, self.psi(values) - 3 * chance)


def as_numbers(values: Any) -> Numbers:
    """A column as floats, NULL and infinite as NaN, shape (rows,).

    Raises:
        ValueError: Something in it is no number.
    """
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def drift(reference: Any, current: Any, bins: int = BINS) -> float | None:
    """Drift of a column against the same column of other rows (`Bins.drift`); None where either has no row.

    Args:
        reference: A column of numbers or yes and no, shape (rows,).
        current: The same, of other rows.
        bins: Quantile bins of `reference`.

    Raises:
        ValueError: Something is no number.
    """
    if not len(reference) or not len(current):
        return None
    return Bins.of(as_numbers(reference), bins).drift(as_numbers(current))


@dataclass(frozen=True)
class Limits:
    """What a value may be.

    Attributes:
        warn: Beyond it somebody should look.
        block: Beyond it nothing is published.
        is_lower: Whether they are lower limits.
    """

    warn: float
    block: float
    is_lower: bool = False

    def status(self, value: float) -> Status:
        """Where a value stands; what is not a number is beyond every limit."""
        sign = -1 if self.is_lower else 1
        if not sign * value <= sign * self.block:
            return "block"
        return "ok" if sign * value <= sign * self.warn else "warn"


def limits_of_decay(metric: str, expected: float, warn_share: float, block_share: float) -> Limits | None:
    """The limits of a metric whose hold-out showed `expected`, as shares of the skill that may be lost.

    Skill is what the metric has above that of no model; of an error it is the inverse, so that a quarter of the skill
    is lost where the error is a third larger.

    Args:
        metric: Such as roc_auc, spearman or wape.
        expected: On the hold-out.
        warn_share: Of the skill, from 0 to 1, exclusive.
        block_share: The same.

    Returns:
        None where the hold-out showed no skill that could be lost.
    """
    none = NO_SKILL.get(metric, 0.0)
    if not expected > none:
        return None
    if metric in ERRORS:
        return Limits(expected / (1 - warn_share), expected / (1 - block_share))
    warn, block = (none + (expected - none) * (1 - share) for share in (warn_share, block_share))
    return Limits(warn, block, is_lower=True)


def wape(actual: Any, predicted: Any) -> float | None:
    """Weighted absolute percentage error: sum of |predicted - actual| over sum of |actual|; None where that is 0."""
    y, p = as_numbers(actual), as_numbers(predicted)
    total = float(np.abs(y).sum())
    return float(np.abs(p - y).sum()) / total if total > 0 else None
