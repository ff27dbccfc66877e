"""How good scores are, with how much certainty. Pure functions of labels and scores; forward-in-time splits.

Where a test set has one class only, what cannot be measured is None and a note says so.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from ml.specification import Labels, Moment, Scores, Specification, days, eligible, known_at, labels_of, require_columns

Matrix = npt.NDArray[np.float64]

BINS = 10
DRAWS = 1000
MIN_DRAWS = 200
# Cells (rows x draws) that a bootstrap may work through, and hold at a time: seconds, some ten MB.
MAX_CELLS = 50_000_000
CHUNK_CELLS = 2_000_000


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap interval (percentile method; Efron & Tibshirani 1993, ch. 13)."""

    estimate: float
    lower: float
    upper: float

    @property
    def is_finite(self) -> bool:
        """Whether all three could be measured."""
        return all(map(math.isfinite, (self.estimate, self.lower, self.upper)))

    def __str__(self) -> str:
        return f"{self.estimate:.4f} [{self.lower:.4f}, {self.upper:.4f}]"


@dataclass(frozen=True)
class Decile:
    """A tenth of the rows, 1 being those with the highest scores.

    Attributes:
        lift: Its rate over the base rate; None without positives.
        capture: Share of all positives in this tenth and those above it; None without positives.
    """

    decile: int
    rows: int
    positives: int
    mean_score: float
    rate: float
    lift: float | None
    capture: float | None


@dataclass(frozen=True)
class Metrics:
    """What was measured on a test set; None where it cannot be."""

    rows: int
    positives: int
    base_rate: float | None
    mean_score: float | None
    roc_auc: float | None
    average_precision: float | None
    log_loss: float | None
    brier: float | None
    ece: float | None
    lift_10: float | None
    capture_10: float | None
    deciles: tuple[Decile, ...] = ()
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def numbers(self) -> dict[str, float]:
        """The measured numbers by name, as a registry takes them; nothing that is None."""
        flat = {k: v for k, v in asdict(self).items() if isinstance(v, (int, float))}
        for name, interval in self.intervals.items():
            flat |= {f"{name}_lower": interval.lower, f"{name}_upper": interval.upper}
        return {name: float(value) for name, value in flat.items()}


def _checked(label: Any, score: Any) -> tuple[Labels, Scores]:
    y, p = np.asarray(label, dtype=np.int64), np.asarray(score, dtype=np.float64)
    if y.shape != p.shape or y.ndim != 1:
        raise ValueError(
            f"labels and scores must be two lists of one length; given were shapes {y.shape} and {p.shape}"
        )
    if not np.isfinite(p).all():
        raise ValueError(
            f"{int((~np.isfinite(p)).sum())} of {len(p)} scores are not finite; a model must score every row"
        )
    return y, p


def _ranked_bins(score: Scores, bins: int) -> npt.NDArray[np.int64]:
    """Bin of each row, 0 the highest, of equal counts; equal scores are ordered as the rows are."""
    bin_of = np.empty(len(score), dtype=np.int64)
    bin_of[np.argsort(-score, kind="stable")] = np.arange(len(score)) * bins // max(len(score), 1)
    return bin_of


def _bin_starts(rows: int, bins: int) -> npt.NDArray[np.int64]:
    """First row of each bin of `_ranked_bins` that has any, among rows sorted by score."""
    return np.unique(np.arange(rows) * bins // max(rows, 1), return_index=True)[1].astype(np.int64)


def expected_calibration_error(label: Any, score: Any, bins: int = BINS) -> float:
    """Mean over the rows of |mean score - rate| within bins of equal counts.

    Equal counts rather than equal widths, as in Nixon et al. 2019, "Measuring calibration in deep learning" (adaptive
    calibration error): with few positives nearly all rows are in the lowest bin otherwise.

    Args:
        label: 0 or 1, shape (rows,).
        score: Probabilities, shape (rows,).
        bins: Number of bins.

    Returns:
        Between 0 and 1; NaN for no rows.
    """
    y, p = _checked(label, score)
    if not len(y):
        return float("nan")
    gaps = np.bincount(_ranked_bins(p, bins), weights=p - y, minlength=bins)
    return float(np.abs(gaps).sum() / len(y))


def calibration_noise(score: Any, bins: int = BINS, draws: int = DRAWS, quantile: float = 0.95, seed: int = 0) -> float:
    """The calibration error that perfect probabilities would show by chance on so many rows: a quantile.

    Each draw lets every row happen with exactly its score as probability (Vaicenavicius et al. 2019, "consistency
    resampling").
    """
    _, p = _checked(np.zeros(len(score), dtype=np.int64), score)
    if not len(p):
        return float("nan")
    order = np.argsort(-p, kind="stable")
    p, starts = p[order], _bin_starts(len(p), bins)
    generator, found = np.random.default_rng(seed), []
    for size in _chunks(len(p), draws):
        happened = generator.random((size, len(p)), dtype=np.float32) < p
        found.append(np.abs(np.add.reduceat(happened - p, starts, axis=1)).sum(axis=1) / len(p))
    return float(np.quantile(np.concatenate(found), quantile))


def deciles(label: Any, score: Any, bins: int = BINS) -> tuple[Decile, ...]:
    """Rates, lift and cumulative capture by tenth of the scores, the highest first."""
    y, p = _checked(label, score)
    bin_of, table, captured = _ranked_bins(p, bins), [], 0
    for number in range(bins):
        inside = bin_of == number
        if not inside.any():
            continue
        captured += int(y[inside].sum())
        rate = float(y[inside].mean())
        lift, capture = (rate / float(y.mean()), captured / int(y.sum())) if y.any() else (None, None)
        table.append(
            Decile(number + 1, int(inside.sum()), int(y[inside].sum()), float(p[inside].mean()), rate, lift, capture)
        )
    return tuple(table)


def _chunks(rows: int, draws: int) -> Iterator[int]:
    draws = max(min(draws, MAX_CELLS // max(rows, 1)), min(draws, MIN_DRAWS))
    step = max(CHUNK_CELLS // max(rows, 1), 1)
    for done in range(0, draws, step):
        yield min(step, draws - done)


def bootstrap_weights(rows: int, groups: Any | None, draws: int, seed: int) -> Iterator[Matrix]:
    """How often each row is in each bootstrap sample, shape (draws of a chunk, rows); groups as a whole."""
    generator = np.random.default_rng(seed)
    codes = np.arange(rows) if groups is None else np.asarray(pd.factorize(np.asarray(groups), sort=True)[0])
    count = int(codes.max()) + 1 if rows else 0
    for size in _chunks(rows, draws):
        picked = generator.integers(0, count, (size, count))
        flat = (picked + np.arange(size)[:, None] * count).ravel()
        counts = np.bincount(flat, minlength=size * count).reshape(size, count)
        yield counts[:, codes].astype(np.float64)


class _Weighted:
    """Metrics of one score under many weightings of its rows: sorted once, then sums."""

    def __init__(self, label: Labels, score: Scores) -> None:
        self.order = np.argsort(-score, kind="stable")
        self.y, self.p = label[self.order].astype(np.float64), score[self.order]
        self.starts = np.flatnonzero(np.r_[True, np.diff(self.p) != 0])
        clipped = np.clip(self.p, 1e-15, 1 - 1e-15)
        self.losses = -(self.y * np.log(clipped) + (1 - self.y) * np.log1p(-clipped))
        self.edges = _bin_starts(len(score), BINS)

    def __call__(self, weights: Matrix) -> dict[str, Matrix]:
        """Each metric, shape (draws,); NaN for a draw in which it is not defined."""
        w = weights[:, self.order]
        hits = w * self.y
        total, positives = w.sum(axis=1), hits.sum(axis=1)
        tied, tied_hits = np.add.reduceat(w, self.starts, axis=1), np.add.reduceat(hits, self.starts, axis=1)
        above, above_hits = tied.cumsum(axis=1), tied_hits.cumsum(axis=1)
        misses = total - positives
        with np.errstate(invalid="ignore", divide="ignore"):
            below = misses[:, None] - (above - above_hits)
            auc = (tied_hits * (below + (tied - tied_hits) / 2)).sum(axis=1) / (positives * misses)
            precision = np.divide(above_hits, above, out=np.zeros_like(above), where=above > 0)
            average_precision = (precision * tied_hits).sum(axis=1) / positives
            running, running_hits, tenth = w.cumsum(axis=1), hits.cumsum(axis=1), np.ceil(total * 0.1)
            last = (running < tenth[:, None]).sum(axis=1)
            rows = np.arange(len(w))
            # The last row taken may be there several times: only as many of it count as fill the tenth.
            top = running_hits[rows, last] - (running[rows, last] - tenth) * self.y[last]
            capture = top / positives
            gaps = np.add.reduceat(w * (self.p - self.y), self.edges, axis=1)
            return {
                "roc_auc": auc,
                "average_precision": np.where(positives > 0, average_precision, np.nan),
                "log_loss": (w * self.losses).sum(axis=1) / total,
                "brier": (w * (self.p - self.y) ** 2).sum(axis=1) / total,
                "ece": np.abs(gaps).sum(axis=1) / total,
                "lift_10": capture / (tenth / total),
                "capture_10": capture,
            }


METRICS = ("roc_auc", "average_precision", "log_loss", "brier", "ece", "lift_10", "capture_10")
LOWER_IS_BETTER = frozenset({"log_loss", "brier", "ece"})


def measure(
    label: Any, score: Any, groups: Any | None = None, draws: int = DRAWS, seed: int = 0, level: float = 0.95
) -> Metrics:
    """All metrics of probabilities on a test set.

    Args:
        label: 0 or 1, shape (rows,).
        score: Probabilities, shape (rows,).
        groups: Who each row is about; resampled as a whole, since the rows of one customer resemble each other.
        draws: Bootstrap samples for the intervals; 0 for none. Fewer are drawn beyond 50 million rows x draws.
        seed: Of the bootstrap.
        level: Of the intervals.

    Raises:
        ValueError: Lengths differ, or a score is not finite.
    """
    y, p = _checked(label, score)
    if not len(y):
        return Metrics(
            rows=0,
            positives=0,
            base_rate=None,
            mean_score=None,
            roc_auc=None,
            average_precision=None,
            log_loss=None,
            brier=None,
            ece=None,
            lift_10=None,
            capture_10=None,
            notes=("no rows to test on",),
        )
    both, notes = 0 < y.sum() < len(y), []
    if not both:
        notes.append(f"all {len(y)} rows have label {int(y[0])}: ROC AUC, average precision and lift are not defined")
    table = deciles(y, p)
    observed = {name: float(values[0]) for name, values in _Weighted(y, p)(np.ones((1, len(y)))).items()}
    intervals: dict[str, Interval] = {}
    if both and draws:
        samples: dict[str, list[Matrix]] = {name: [] for name in METRICS}
        weighted = _Weighted(y, p)
        for weights in bootstrap_weights(len(y), groups, draws, seed):
            for name, values in weighted(weights).items():
                samples[name].append(values)
        tails = [(1 - level) / 2, (1 + level) / 2]
        for name, parts in samples.items():
            lower, upper = np.nanquantile(np.concatenate(parts), tails)
            intervals[name] = Interval(observed[name], float(lower), float(upper))
    return Metrics(
        rows=len(y),
        positives=int(y.sum()),
        base_rate=float(y.mean()),
        mean_score=float(p.mean()),
        roc_auc=float(roc_auc_score(y, p)) if both else None,
        average_precision=float(average_precision_score(y, p)) if both else None,
        log_loss=float(log_loss(y, p, labels=[0, 1])),
        brier=float(brier_score_loss(y, p)) if ((p >= 0) & (p <= 1)).all() else None,
        ece=expected_calibration_error(y, p),
        lift_10=observed["lift_10"] if both else None,
        capture_10=observed["capture_10"] if both else None,
        deciles=table,
        intervals=intervals,
        notes=tuple(notes),
    )


def paired_difference(
    label: Any,
    ours: Any,
    theirs: Any,
    metric: str = "roc_auc",
    groups: Any | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> Interval | None:
    """By how much one model is better than another on the same rows: paired bootstrap.

    Each bootstrap sample is given to both models, so that what makes rows easy or hard for both cancels out
    (Efron & Tibshirani 1993, ch. 15).

    Args:
        label: 0 or 1, shape (rows,).
        ours: Scores of the one, shape (rows,).
        theirs: Scores of the other on the same rows, shape (rows,).
        metric: One of `METRICS`.
        groups: As in `measure`.
        draws: Bootstrap samples.
        seed: Of the bootstrap.
        level: Of the interval.

    Returns:
        The advantage of `ours`, above 0 if better, also where lower is better; None where it cannot be measured.
    """
    y, a = _checked(label, ours)
    _, b = _checked(label, theirs)
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; known are {', '.join(METRICS)}")
    if not 0 < y.sum() < len(y):
        return None
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    one, other = _Weighted(y, a), _Weighted(y, b)

    def advantage(weights: Matrix) -> Matrix:
        return sign * (one(weights)[metric] - other(weights)[metric])

    found = np.concatenate([advantage(weights) for weights in bootstrap_weights(len(y), groups, draws, seed)])
    lower, upper = np.nanquantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(advantage(np.ones((1, len(y))))[0]), float(lower), float(upper))


@dataclass(frozen=True)
class Split:
    """Rows to train on and rows to test on.

    Attributes:
        time: The cut-off tested; None without a time column.
        train: Labelled rows as they were known at `time`.
        test: Rows of that cut-off with their final labels.
    """

    time: pd.Timestamp | None
    train: pd.DataFrame
    test: pd.DataFrame


def forward_splits(specification: Specification, frame: pd.DataFrame, times: list[Moment]) -> Iterator[Split]:
    """For each cut-off, the rows whose labels were known on that day, and the rows of the day itself.

    Args:
        specification: With a time column.
        frame: Feature rows with labels.
        times: Cut-offs to test on.

    Raises:
        ValueError: A cut-off has no labelled rows.
    """
    if specification.time_column is None:
        raise ValueError(f"{specification.name} has no time column to go forward in")
    require_columns(frame, [specification.time_column], specification.name)
    frame = eligible(specification, frame)
    start, labelled = days(frame, specification.time_column), labels_of(specification, frame).notna()
    for time in sorted(pd.Timestamp(moment) for moment in times):
        test = frame[(start == time) & labelled]
        if test.empty:
            raise ValueError(
                f"{specification.name}: no labelled rows on {time.date()}; labelled days are {_named(start[labelled])}"
            )
        yield Split(time, known_at(specification, frame, time)[0], test)


def _named(time: "pd.Series[pd.Timestamp]") -> str:
    known = sorted({str(pd.Timestamp(moment).date()) for moment in time.unique()})
    return ", ".join(known if len(known) < 7 else [*known[:3], "…", *known[-3:]])
