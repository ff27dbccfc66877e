"""Who will be a key account, told from predicted value: odds fitted on forecasts that are forward in time, and metrics.

A key account is one of the fewest customers who carry a share of the sales. Whether one becomes so depends on where the
predicted value stands among all, so that is what the odds look at. Scratch trials on three cut-offs from 2017-08-13 to
2017-10-08, ROC AUC / average precision in the mean: classified directly, by trees or a logistic regression on windows
of spend and visits, .958 to .962 / .768 to .776; the last window's sales .958 / .762; smoothed sales .964 / .781; the
predicted value .963 / .795. There are few key accounts to learn from, but everybody's value teaches value.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from ml.decision import CHALLENGER
from ml.evaluation import DRAWS, measure
from ml.specification import Scores

Flags = npt.NDArray[np.bool_]

# Fewer key accounts to learn from, or fewer others, give no odds.
MIN_OF_EACH = 20


def list_threshold(values: Any, share: float) -> float:
    """The smallest value of the fewest rows that come to a share of the total; equal values go together.

    Args:
        values: Money, shape (rows,); what is not above 0 carries nothing.
        share: Of the total, 0 to 1.

    Returns:
        Infinity where nothing is above 0.
    """
    numbers = np.sort(np.maximum(np.nan_to_num(np.asarray(values, dtype=np.float64)), 0.0))[::-1]
    total = numbers.sum()
    if not total > 0:
        return float("inf")
    distinct, first = np.unique(-numbers, return_index=True)
    above = np.r_[0.0, numbers.cumsum()][first]
    return float(-distinct[above < share * total].max())


class KeyAccountOdds:
    """Probability of being a key account, from a predicted value.

    Attributes:
        threshold: The prediction with which the list of the day begins.
        slope: Of the log odds over log((prediction + 1) / (threshold + 1)).
        intercept: Log odds at the threshold.
    """

    def __init__(self, threshold: float, slope: float, intercept: float) -> None:
        self.threshold, self.slope, self.intercept = threshold, slope, intercept

    @classmethod
    def fit(cls, predicted: Scores, becomes: Flags, day: Any, today: Scores, share: float) -> Self | None:
        """Learns the odds from forecasts of other days, for the list of today.

        Args:
            predicted: By a model that had not seen the rows, shape (rows,).
            becomes: Whether the row became a key account, shape (rows,).
            day: Cut-off of each row, shape (rows,): each has a threshold of its own.
            today: Predictions of the day that is scored.
            share: Of the sales that key accounts carry.

        Returns:
            None where too few became key accounts, or too few did not, or nothing is predicted.
        """
        frame = pd.DataFrame({"predicted": predicted, "day": np.asarray(day)})
        start = frame.groupby("day")["predicted"].transform(lambda values: list_threshold(values, share)).to_numpy()
        threshold, count = list_threshold(today, share), int(becomes.sum())
        if min(count, len(becomes) - count) < MIN_OF_EACH or not np.isfinite([*start, threshold]).all():
            return None
        place = np.log((predicted + 1) / (start + 1))[:, None]
        model = LogisticRegression(C=np.inf, solver="newton-cholesky").fit(place, becomes)
        return cls(threshold, float(model.coef_[0, 0]), float(model.intercept_[0]))

    def __call__(self, predicted: Scores) -> Scores:
        """Probabilities, shape (rows,)."""
        place = np.log((predicted + 1) / (self.threshold + 1))
        return np.asarray(expit(self.intercept + self.slope * place), dtype=np.float64)

    def to_json(self) -> dict[str, float]:
        """As JSON types; `KeyAccountOdds(**state)` takes it back."""
        return {"threshold": self.threshold, "slope": self.slope, "intercept": self.intercept}


def list_precision(becomes: Any, score: Any, day: Any) -> float:
    """Share of key accounts in lists of the highest scores, each as long as there came to be key accounts.

    Args:
        becomes: 0 or 1, shape (rows,).
        score: Higher for more likely, shape (rows,).
        day: A list per day, shape (rows,).
    """
    frame = pd.DataFrame({"becomes": np.asarray(becomes, dtype=np.float64), "score": score, "day": np.asarray(day)})
    hits = total = 0.0
    for _, rows in frame.groupby("day"):
        size = int(rows["becomes"].sum())
        hits += rows.sort_values("score", ascending=False, kind="stable")["becomes"].head(size).sum()
        total += size
    return hits / total if total else float("nan")


def key_account_metrics(
    becomes: Any, scores: Mapping[str, Any], was: Any, day: Any, customers: Any, draws: int = DRAWS, seed: int = 0
) -> Iterator[tuple[str, str, float, float | None, float | None]]:
    """How well scores tell who becomes a key account: name, metric, value, ends of its 95 % interval.

    ROC AUC and average precision, of all and (`new_`) of those who were none in the last window; precision of a list of
    the right length; calibration error of what is a probability.

    Args:
        becomes: 0 or 1, shape (rows,).
        scores: By name; that named challenger is a probability.
        was: Who was a key account by the last window, shape (rows,).
        day: Cut-off of each row, for the lists.
        customers: Whom each row is about; resampled as a whole.
        draws: Bootstrap samples.
        seed: Of the bootstrap.
    """
    label, old = np.asarray(becomes, dtype=np.int64), np.asarray(was, dtype=bool)
    group, days = np.asarray(customers), np.asarray(day)
    for name, score in scores.items():
        given = np.asarray(score, dtype=np.float64)
        yield name, "key_account_list_precision", list_precision(label, given, days), None, None
        if name != CHALLENGER:
            given = np.asarray(pd.Series(given).rank(pct=True), dtype=np.float64)  # money ranks, but is no probability
        for prefix, rows in (("key_account", np.full(len(label), True)), ("new_key_account", ~old)):
            found = measure(label[rows], given[rows], group[rows], draws, seed)
            for metric in ("roc_auc", "average_precision", *(("ece",) if name == CHALLENGER else ())):
                interval = found.intervals.get(metric)
                if interval is not None:
                    yield name, f"{prefix}_{metric}", interval.estimate, interval.lower, interval.upper
