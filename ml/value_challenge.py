"""A day's challenge in customer value: cut-offs held out, forecast beside baselines; a decision, card and pictures.

The model is elsewhere, and so is who registers or publishes what comes out.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ml.artefact import sha256_of
from ml.decision import CHALLENGER, CHAMPION, HOLD_OUT, PERFORMANCE_COLUMNS, Challenge, Decision, without_challenger
from ml.evaluation import DRAWS, Interval, Matrix, bootstrap_weights
from ml.key_accounts import key_account_metrics, list_threshold
from ml.model_card import markdown_rows
from ml.plots import OURS, THEIRS, new_figure, to_png
from ml.specification import Moment, Scores, TooLittleDataError, days, require_columns
from ml.value import LOWER, UPPER, ValueModel
from ml.value_baselines import bg_nbd, last_period
from ml.value_specification import ValueSpecification, closed_rows, shortages

LAST_PERIOD, BG_NBD = "last_period", "bg_nbd"
BASELINES = (LAST_PERIOD, BG_NBD)
RANKED_BY = "normalised_gini"
LEVEL = 0.95
PARTS = 10

Metrics = Mapping[str, Interval]


class _Ranking:
    """The rows in the order of some numbers: ranks and captured shares under many weightings."""

    def __init__(self, numbers: Scores) -> None:
        self.order = np.argsort(-numbers, kind="stable")
        arranged = numbers[self.order]
        self.starts = np.flatnonzero(np.r_[True, np.diff(arranged) != 0])
        self.group = np.cumsum(np.r_[False, np.diff(arranged) != 0])
        self.back = np.argsort(self.order, kind="stable")

    def ranks(self, weights: Matrix) -> Matrix:
        """Mean rank of each row among the weighted ones, shape of `weights`; equal numbers share theirs."""
        tied = np.add.reduceat(weights[:, self.order], self.starts, axis=1)
        middle = tied.cumsum(axis=1) - tied / 2
        return np.asarray(middle[:, self.group][:, self.back], dtype=np.float64)

    def gini(self, weights: Matrix, actual: Scores) -> Matrix:
        """Area between the captured share of `actual` and the diagonal, rows from the largest number on; (draws,)."""
        w = weights[:, self.order]
        tied = np.add.reduceat(w, self.starts, axis=1)
        gained = np.add.reduceat(w * actual[self.order], self.starts, axis=1)
        captured, total = gained.cumsum(axis=1), gained.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            area = (tied * (captured - gained / 2)).sum(axis=1) / (tied.sum(axis=1) * total)
        return np.asarray(np.where(total > 0, area - 0.5, np.nan), dtype=np.float64)


class _Measured:
    """Metrics of one forecast under many weightings of its rows."""

    def __init__(self, actual: Scores, predicted: Scores, ends: tuple[Scores, Scores] | None = None) -> None:
        self.actual, self.predicted, self.ends = actual, predicted, ends
        self.by_actual, self.by_predicted = _Ranking(actual), _Ranking(predicted)

    def spearman(self, weights: Matrix) -> Matrix:
        """Pearson's correlation of the mean ranks; NaN where all are equal."""
        total = weights.sum(axis=1, keepdims=True)

        def centred(ranking: _Ranking) -> Matrix:
            ranks = ranking.ranks(weights)
            return np.asarray(ranks - (weights * ranks).sum(axis=1, keepdims=True) / total)

        a, b = centred(self.by_actual), centred(self.by_predicted)
        spread = (weights * a**2).sum(axis=1) * (weights * b**2).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            found = (weights * a * b).sum(axis=1) / np.sqrt(spread)
        return np.asarray(np.where(spread > 0, found, np.nan), dtype=np.float64)

    def normalised_gini(self, weights: Matrix) -> Matrix:
        """Gini of the forecast over that of a perfect one; NaN where the total is not above 0 or all are equal."""
        best = self.by_actual.gini(weights, self.actual)
        with np.errstate(invalid="ignore", divide="ignore"):
            found = self.by_predicted.gini(weights, self.actual) / best
        return np.asarray(np.where(best > 1e-12, found, np.nan), dtype=np.float64)

    def __call__(self, weights: Matrix) -> dict[str, Matrix]:
        """Each metric, shape (draws,)."""
        total, actual = weights.sum(axis=1), weights @ self.actual
        with np.errstate(invalid="ignore", divide="ignore"):
            bias = np.where(actual > 0, weights @ self.predicted / actual - 1, np.nan)
        found = {
            "spearman": self.spearman(weights),
            RANKED_BY: self.normalised_gini(weights),
            "bias": bias,
            "mae": weights @ np.abs(self.predicted - self.actual) / total,
        }
        if self.ends is not None:
            covered = (self.ends[0] <= self.actual) & (self.actual <= self.ends[1])
            found["coverage_80"] = weights @ covered.astype(np.float64) / total
        return found


def _interval(observed: float, draws: Matrix) -> Interval:
    known = draws[np.isfinite(draws)]
    if not math.isfinite(observed) or not len(known):
        return Interval(observed, math.nan, math.nan)
    lower, upper = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(observed, float(lower), float(upper))


def _finite(*columns: Any) -> list[Scores]:
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    if len({array.shape for array in arrays}) != 1 or arrays[0].ndim != 1 or not len(arrays[0]):
        raise ValueError(f"expected are lists of one length above 0; given were {[array.shape for array in arrays]}")
    for array in arrays:
        if not np.isfinite(array).all():
            raise ValueError(f"{int((~np.isfinite(array)).sum())} of {len(array)} values are not finite")
    return arrays


def measure_value(
    actual: Any,
    predicted: Any,
    lower: Any | None = None,
    upper: Any | None = None,
    groups: Any | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Interval]:
    """Metrics of a forecast of money with 95 % bootstrap intervals; NaN where one is not defined.

    spearman: correlation of the ranks. normalised_gini: area between the curve of captured sales and the diagonal, over
    that of a perfect forecast. bias: total predicted over total actual, less 1. mae: mean absolute error, in money.
    coverage_80: share of the rows within their interval, where there is one.

    Args:
        actual: Net sales of the window, shape (rows,).
        predicted: Shape (rows,).
        lower: Lower end of the interval, shape (rows,); None where there is none.
        upper: Upper end.
        groups: Who each row is about; resampled as a whole.
        draws: Bootstrap samples.
        seed: Of the bootstrap.

    Raises:
        ValueError: Lengths differ, there are no rows, or something is not finite.
    """
    ends = None
    if lower is not None and upper is not None:
        y, p, *two = _finite(actual, predicted, lower, upper)
        ends = (two[0], two[1])
    else:
        y, p = _finite(actual, predicted)
    measured = _Measured(y, p, ends)
    observed = measured(np.ones((1, len(y))))
    parts = [measured(weights) for weights in bootstrap_weights(len(y), groups, draws, seed)]
    return {
        name: _interval(float(value[0]), np.concatenate([np.zeros(0), *(part[name] for part in parts)]))
        for name, value in observed.items()
    }


def value_advantage(
    actual: Any, ours: Any, theirs: Any, groups: Any | None = None, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """By how much one normalised Gini is above another on the same rows, 95 % interval; see `measure_value`."""
    y, a, b = _finite(actual, ours, theirs)
    one, other = _Measured(y, a), _Measured(y, b)

    def advantage(weights: Matrix) -> Matrix:
        return one.normalised_gini(weights) - other.normalised_gini(weights)

    parts = [advantage(weights) for weights in bootstrap_weights(len(y), groups, draws, seed)]
    return _interval(float(advantage(np.ones((1, len(y))))[0]), np.concatenate([np.zeros(0), *parts]))


def value_holdout_times(specification: ValueSpecification, frame: pd.DataFrame, as_of: Moment) -> list[pd.Timestamp]:
    """The newest cut-offs whose windows had closed by `as_of`, oldest first; before each, there is enough to learn."""
    spec = specification
    closed = closed_rows(spec, frame, as_of)
    taken: list[pd.Timestamp] = []
    for time in sorted(pd.to_datetime(days(closed, spec.time_column).unique()), reverse=True):
        if len(taken) >= spec.hold_out.cut_offs:
            break
        if taken and (taken[-1] - time) < pd.Timedelta(days=spec.hold_out.spacing_days):
            continue
        if shortages(spec, closed_rows(spec, closed, time)):
            break  # before older ones there is less
        taken.append(pd.Timestamp(time))
    return taken[::-1]


@dataclass(frozen=True)
class ValueBacktest:
    """Forecasts by models that knew only what was known on the day of the cut-off.

    Attributes:
        specification: Of the model.
        predictions: Per row tested: the identity, `actual`, one column per name in `names`, `lower_80`, `upper_80`;
            where there are odds of becoming a key account, those, and whether the customer became one.
        names: challenger, the baselines, and champion where one was tested.
        notes: What was left out, and why.
        has_champion: There is one, tested or not.
        incomparable: Why it was not tested, where it cannot be.
    """

    specification: ValueSpecification
    predictions: pd.DataFrame
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    has_champion: bool = False
    incomparable: str = ""

    @property
    def customers(self) -> "pd.Series[int]":
        """A number per customer, to be resampled as a whole."""
        return self.predictions.groupby(list(self.specification.keys), sort=True).ngroup()

    def metrics(self, name: str, draws: int = DRAWS) -> dict[str, Interval]:
        """Of the model, a baseline or the champion, on all rows."""
        rows = self.predictions
        lower, upper = (rows[LOWER], rows[UPPER]) if name == CHALLENGER else (None, None)
        return measure_value(rows["actual"], rows[name], lower, upper, self.customers, draws, self.specification.seed)

    def advantage(self, over: str, draws: int = DRAWS) -> Interval:
        """By how much the model's normalised Gini is above that of a baseline, or the champion."""
        rows = self.predictions
        return value_advantage(
            rows["actual"], rows[CHALLENGER], rows[over], self.customers, draws, self.specification.seed
        )

    @cached_property
    def key_accounts(self) -> list[tuple[str, str, float, float | None, float | None]]:
        """Of the odds and, as a ranking, of the baselines: name, metric, value, ends; nothing where there are none."""
        spec, rows = self.specification, self.predictions
        if spec.key_account_label not in rows or rows[spec.key_account_score].isna().any():
            return []
        last = rows.groupby(spec.time_column)[LAST_PERIOD]
        was = rows[LAST_PERIOD] >= last.transform(lambda sales: list_threshold(sales, spec.key_account_share))
        scores = {CHALLENGER: rows[spec.key_account_score]} | {n: rows[n] for n in self.names if n in BASELINES}
        time = rows[spec.time_column]
        return list(
            key_account_metrics(rows[spec.key_account_label], scores, was, time, self.customers, seed=spec.seed)
        )

    @cached_property
    def best_baseline(self) -> str:
        """That with the highest normalised Gini; the first where none has any."""
        baselines = [name for name in self.names if name in BASELINES]
        ginis = [self.metrics(name, draws=0)[RANKED_BY].estimate for name in baselines]
        return baselines[int(np.argmax(np.nan_to_num(ginis, nan=-1.0)))]

    @cached_property
    def over_best_baseline(self) -> Interval:
        """See `advantage`."""
        return self.advantage(self.best_baseline)

    def judge(self) -> Decision:
        """Gate 3 on these rows."""
        return decide_value(
            self.specification,
            len(self.predictions),
            self.metrics(CHALLENGER, draws=0),
            self.best_baseline,
            self.over_best_baseline,
            self.has_champion,
            self.advantage(CHAMPION) if CHAMPION in self.names else None,
            self.incomparable,
        )


def decide_value(
    specification: ValueSpecification,
    rows: int,
    metrics: Metrics,
    baseline: str,
    over_baseline: Interval | None,
    has_champion: bool = False,
    over_champion: Interval | None = None,
    incomparable: str = "",
) -> Decision:
    """Whether a challenger ranks better than the best baseline and not worse than the champion, at the right level.

    It fails closed: what was not measured, or is not finite, speaks against the challenger.

    Args:
        specification: With the limits.
        rows: In the hold-out.
        metrics: The challenger's on it.
        baseline: Name of the best one.
        over_baseline: Advantage over it, from `value_advantage`.
        has_champion: There is one.
        over_champion: Advantage over it; None where it could not be measured.
        incomparable: Why there is nothing to compare: it forecasts something else.
    """
    rule, bias = specification.promotion, metrics["bias"].estimate if "bias" in metrics else math.nan
    against: list[str] = []
    pro: list[str] = []

    def said(text: str, holds: bool) -> None:
        (pro if holds else against).append(text)

    enough = rows >= rule.min_rows
    said(f"the hold-out has {rows} rows" + ("" if enough else f"; needed are {rule.min_rows}"), enough)
    if over_baseline is None or not over_baseline.is_finite:
        said(f"the advantage over the baseline {baseline} could not be measured", False)
    else:
        better = over_baseline.lower > rule.min_advantage
        word = "better" if better else "not better"
        said(f"normalised Gini {word} than that of the baseline {baseline} beyond noise: {over_baseline}", better)
    if not math.isfinite(bias):
        said("the bias could not be measured", False)
    else:
        level = abs(bias) <= rule.max_bias
        word = "the total is right" if level else "the total is wrong"
        said(f"{word}: bias {bias:+.1%}, allowed is ±{rule.max_bias:.0%}", level)
    if not has_champion:
        said("there is no champion to compare with", True)
    elif incomparable:
        said(incomparable, True)
    elif over_champion is None or not over_champion.is_finite:
        said("the difference to the champion could not be measured", False)
    else:
        equal = over_champion.upper >= 0
        said(f"{'not worse' if equal else 'worse'} than the champion beyond noise: {over_champion}", equal)
    if not against:
        return Decision(True, tuple(pro), "challenger")
    return without_challenger(*against, has_champion=has_champion)


def backtest_value(
    specification: ValueSpecification,
    frame: pd.DataFrame,
    times: Sequence[Moment],
    champion: ValueModel | None = None,
    threads: int = 0,
) -> ValueBacktest:
    """For each cut-off, the forecast of a model fitted as of that day, beside baselines and the champion's recipe.

    Args:
        specification: The model.
        frame: Feature rows with labels.
        times: Cut-offs with labels.
        champion: Its specification is fitted anew as of each day, so that it has not seen the rows either.
        threads: Of LightGBM.

    Raises:
        TooLittleDataError: There is no cut-off, or before one too little to learn from.
        ValueError: As in `ValueModel.fit`.
    """
    spec, notes, tested = specification, [], []
    if not times:
        raise TooLittleDataError(f"{spec.name}: no closed cut-off with enough before it to learn from, to test on")
    theirs, incomparable = None if champion is None else champion.specification, ""
    if theirs is not None and (theirs.window_days, theirs.label) != (spec.window_days, spec.label):
        incomparable = f"the champion forecasts {theirs.window_days} days, not {spec.window_days}: not comparable"
        theirs = None
    start, failed = days(frame, spec.time_column), set()
    for time in sorted(pd.Timestamp(moment) for moment in times):
        today = frame[(start == time).to_numpy()].sort_values(list(spec.identity), kind="stable")
        fitted = ValueModel(spec, threads).fit(frame, time)
        scored = fitted.predict(today).rename(columns={spec.score: CHALLENGER})
        scored["actual"] = today[spec.label].to_numpy(dtype=np.float64, na_value=np.nan)
        if spec.key_account_label in today:
            label = pd.to_numeric(today[spec.key_account_label])
            scored[spec.key_account_label] = label.to_numpy(dtype=np.float64, na_value=np.nan)
        scored[LAST_PERIOD] = last_period(today, spec.last_window_column)
        try:
            columns = (spec.visits_column, spec.history_column, spec.recency_column, spec.visit_value_column)
            scored[BG_NBD] = bg_nbd(today, spec.window_days, *columns)
        except ValueError as error:
            failed.add(BG_NBD)
            notes.append(f"the baseline {BG_NBD} is left out, on {time.date()}: {error}")
        if theirs == spec:
            scored[CHAMPION] = scored[CHALLENGER]
        elif theirs is not None:
            held = ValueModel(theirs, threads).fit(frame, time)
            scored[CHAMPION] = held.predict(today)[theirs.score]
        tested.append(scored[scored["actual"].notna()])
    predictions = pd.concat(tested, ignore_index=True)
    if predictions.empty:
        raise TooLittleDataError(f"{spec.name}: the cut-offs to test on have no labelled rows")
    possible = (CHALLENGER, CHAMPION, *(name for name in BASELINES if name not in failed))
    names = tuple(name for name in possible if name in predictions)
    return ValueBacktest(spec, predictions, names, tuple(notes), champion is not None, incomparable)


def challenge_value(
    specification: ValueSpecification,
    frame: pd.DataFrame,
    as_of: Moment,
    champion: ValueModel | None = None,
    threads: int = 0,
) -> Challenge:
    """Trains on what was known at `as_of`, and judges the recipe on the newest closed cut-offs.

    Args:
        specification: The model.
        frame: Feature rows with labels; those of the day itself are read without.
        as_of: A midnight.
        champion: The one in force; None where there is none.
        threads: Of LightGBM.

    Returns:
        The challenge; where there is too little data, or a column that cannot be learned from, one without an artefact
        whose decision says what is there and what is needed.
    """
    try:
        require_columns(frame, [*specification.identity, specification.label], specification.name)
        frame = frame[[column for column in frame.columns if column in set(_read(specification, champion))]]
        frame = frame[(days(frame, specification.time_column) <= pd.Timestamp(as_of)).to_numpy()]
        model = ValueModel(specification, threads).fit(frame, as_of)
        times = value_holdout_times(specification, frame, as_of)
        tested = backtest_value(specification, frame, times, champion, threads)
    except ValueError as error:
        return Challenge(without_challenger(str(error), has_champion=champion is not None))
    metrics = {name: tested.metrics(name) for name in tested.names}
    decision, text, best = tested.judge(), model.text(), tested.best_baseline
    first = pd.Timestamp(times[0]).date()
    last = (pd.Timestamp(times[-1]) + pd.Timedelta(days=specification.window_days - 1)).date()
    tested_on = f"{len(times)} cut-offs held out, net sales from {first} to {last}"
    return Challenge(
        decision=decision,
        artefact=text,
        performance=pd.DataFrame(list(_performance(tested, metrics, first, last)), columns=list(PERFORMANCE_COLUMNS)),
        parameters={**specification.parameters.model_dump(), "seed": specification.seed, "rows": model.rows_}
        | {"cut_offs": model.cut_offs_, "factor": model.factor_, "level_ratio": model.level_["ratio"]}
        | {"features": len(model.blend_.preprocessor.features_)},
        pictures={
            "deciles": deciles_plot(f"{specification.name}: {tested_on}", tested.predictions, best),
            "captured": captured_plot(f"{specification.name}: {tested_on}", tested.predictions, best),
        },
        card=value_card(model, tested, metrics, tested_on, decision, sha256_of(text)),
    )


def _read(specification: ValueSpecification, champion: ValueModel | None) -> tuple[str, ...]:
    return (*specification.columns, *(() if champion is None else champion.specification.columns))


def _performance(
    tested: ValueBacktest, metrics: Mapping[str, Metrics], first: Any, last: Any
) -> Iterator[tuple[Any, ...]]:
    for name, measured in metrics.items():
        role = name if name in (CHALLENGER, CHAMPION) else "baseline"
        where = name, role, HOLD_OUT, first, last
        yield *where, "rows", float(len(tested.predictions)), None, None
        for metric, interval in measured.items():
            if math.isfinite(interval.estimate):
                ends = (interval.lower, interval.upper) if interval.is_finite else (None, None)
                yield *where, metric, interval.estimate, *ends
        if name == CHALLENGER:
            over = tested.over_best_baseline
            if over.is_finite:
                metric = f"{RANKED_BY}_above_{tested.best_baseline}"
                yield *where, metric, over.estimate, over.lower, over.upper
    for name, metric, value, lower, upper in tested.key_accounts:
        role = name if name == CHALLENGER else "baseline"
        yield name, role, HOLD_OUT, first, last, metric, value, lower, upper


def _tenth_of(predicted: Scores) -> Scores:
    part = np.empty(len(predicted))
    part[np.argsort(-predicted, kind="stable")] = np.arange(len(predicted)) * PARTS // len(predicted)
    return part


def deciles_plot(title: str, predictions: pd.DataFrame, baseline: str) -> bytes:
    """Mean predicted and mean actual by tenth of the prediction, of the model and of the best baseline. PNG."""
    figure = new_figure(10, 4.4)
    panels = figure.subplots(1, 2, sharey=True)
    actual = predictions["actual"].to_numpy()
    for axes, column, colour, name in zip(
        panels, (CHALLENGER, baseline), (OURS, THEIRS), ("model", baseline), strict=True
    ):
        predicted = predictions[column].to_numpy()
        means = pd.DataFrame({"predicted": predicted, "actual": actual}).groupby(_tenth_of(predicted)).mean()
        place = means.index.to_numpy() + 1
        axes.bar(place, means["actual"], color="#d5d9df", label="bought")
        axes.plot(place, means["predicted"], "o-", color=colour, label="predicted")
        axes.set(xlabel="tenth of the customers, highest predictions first", title=name)
        axes.set_xticks(range(1, PARTS + 1))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    panels[0].set_ylabel("net sales per customer, mean")
    figure.suptitle(title)
    return to_png(figure)


def captured_plot(title: str, predictions: pd.DataFrame, baseline: str) -> bytes:
    """Share of all sales to come that the customers with the highest predictions make up. PNG."""
    figure = new_figure(7.5, 5)
    axes = figure.subplots()
    actual = predictions["actual"].to_numpy()
    total = float(actual.sum())
    for column, style, colour, name in (
        ("actual", "--", "#33383f", "perfect"),
        (CHALLENGER, "-", OURS, "model"),
        (baseline, "-", THEIRS, baseline),
    ):
        order = np.argsort(-predictions[column].to_numpy(), kind="stable")
        captured = np.r_[0.0, actual[order].cumsum()] / (total if total > 0 else 1.0)
        axes.plot(np.linspace(0, 1, len(captured)), captured, style, color=colour, label=name)
    axes.plot([0, 1], [0, 1], ":", color="#c0c4ca", linewidth=1, label="at random", zorder=0)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
    axes.yaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
    axes.set(xlabel="share of the customers, highest first", ylabel="share of the net sales to come", title=title)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    return to_png(figure)


def value_card(
    model: ValueModel,
    tested: ValueBacktest,
    metrics: Mapping[str, Metrics],
    tested_on: str,
    decision: Decision,
    sha256: str,
) -> str:
    """The model card in Markdown (Mitchell et al. 2019).

    Args:
        model: Fitted.
        tested: Its backtest.
        metrics: By name, from `ValueBacktest.metrics`.
        tested_on: Which hold-out, in words.
        decision: Of gate 3.
        sha256: Of the artefact.
    """
    spec, level = model.specification, model.level_
    basis = (
        f"the last window's total of the same customers x {level['ratio']:.3f}, learned on {level['cut_offs']} cut-offs"
    )
    if level["basis"] != "last_window":
        basis = "the model's own total"
    facts = [
        ("Predicts", f"`{spec.score}`: net sales of {spec.window_days} days from `{spec.time_column}` on"),
        ("Interval", f"`{LOWER}`, `{UPPER}`: holds eight times in ten, customer by customer"),
        ("A row is", ", ".join(f"`{c}`" for c in spec.identity)),
        ("Knows", f"what was known on {model.as_of_[:10]}; cut-offs {model.first_time_} to {model.last_time_}"),
        ("Trained on", f"{model.rows_:,} rows of {model.cut_offs_} cut-offs"),
        ("Features", f"{len(model.blend_.preprocessor.features_)}"),
        ("Total", f"{basis}; factor {model.factor_:.3f}"),
        ("SHA-256", f"`{sha256}`"),
    ]
    lines = [f"# Model card: {spec.name}", "", spec.purpose, "", *markdown_rows(("", ""), facts)]

    columns = list(metrics[CHALLENGER])
    table = [
        [name, f"{len(tested.predictions):,}", *(_cell(column, measured.get(column)) for column in columns)]
        for name, measured in metrics.items()
    ]
    lines += ["", f"## Measured on {tested_on}", "", *markdown_rows(("", "rows", *columns), table)]
    odds = [
        (name, metric, f"{value:.4f}" + (f" [{lower:.4f}, {upper:.4f}]" if lower is not None else ""))
        for name, metric, value, lower, upper in tested.key_accounts
    ]
    if odds:
        lines += ["", "## Who will be a key account", "", *markdown_rows(("", "metric", "value"), odds)]
    lines += ["", f"## Gate: {'promoted' if decision.promote else 'not promoted'}, scores: {decision.scores}", ""]
    lines += [f"- {reason}" for reason in decision.reasons]
    fields = type(spec.parameters).model_fields
    settings = [(f"`{name}`", getattr(spec.parameters, name), field.description) for name, field in fields.items()]
    lines += ["", "## Parameters", "", *markdown_rows(("parameter", "value", "why"), settings)]
    notes = list(dict.fromkeys((*tested.notes, *model.notes_)))
    if notes:
        lines += ["", "## Notes", "", *[f"- {note}" for note in notes]]
    return "\n".join(lines) + "\n"


def _cell(metric: str, interval: Interval | None) -> str:
    if interval is None or not math.isfinite(interval.estimate):
        return ""
    style = {"mae": ",.2f", "bias": "+.1%", "coverage_80": ".1%"}.get(metric, ".4f")
    text = f"{interval.estimate:{style}}"
    return f"{text} [{interval.lower:{style}}, {interval.upper:{style}}]" if interval.is_finite else text
