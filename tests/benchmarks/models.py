"""How good the models are, forward in time, and what they cost beside their floor: the libraries called bare.

Run as `python -m tests.benchmarks.models [accuracy] [cost] [memory]` on a refreshed warehouse, which is only read. The
days tested are those of the sample. Costs are ratios of two measurements of this run, taken in turns; seconds and
bytes are shown beside them, as machines differ.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import lightgbm as lgb
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from ml.artefact import sha256_of
from ml.decision import CHALLENGER
from ml.forecast_evaluation import ForecastBacktest, forecast_backtest
from ml.forecast_history import LEVELS
from ml.forecast_specification import BASELINES, ForecastSpecification
from ml.propensity import Backtest, PropensityModel, backtest
from ml.segment_challenge import challenge_segments
from ml.segments import SegmentModel
from ml.specification import Moment, Scores, Specification, days, eligible, known_at
from ml.value_challenge import backtest_value
from ml.value_specification import ValueSpecification, closed_rows
from orchestration.markdown import markdown_table
from orchestration.models import (
    BATCH_VECTORS,
    REASONS,
    ChurnModel,
    CustomerSegments,
    CustomerValue,
    DemandForecast,
    ResponseModel,
    tunable,
)
from orchestration.resources.registry import RegisteredModel
from orchestration.settings import Settings, load_settings
from tests.benchmarks.refresh import REPEATS, Measured, measure

CHURN_TEST = "2017-11-12"
# fmt: off
CHURN_CUT_OFFS = (
    "2017-06-25", "2017-07-09", "2017-07-23", "2017-08-06", "2017-08-20", "2017-09-03", "2017-09-17",
    "2017-10-01", "2017-10-15", "2017-10-29", "2017-11-12", "2017-11-26", "2017-12-03",
)
# fmt: on
RESPONSE_FROM = "2017-10-01"
VALUE_CUT_OFFS = ("2017-07-16", "2017-08-06", "2017-08-27", "2017-09-17", "2017-10-08")
ORIGINS = 10
WEEKS = 14
LARGEST = 15

# What many would try first: recency, frequency and sales in windows, and LightGBM as it comes.
RFM_WINDOWS = (
    *("recency_days", "tenure_days", "lifetime_count_orders", "lifetime_net_sales"),
    *(f"{what}_{span}d" for what in ("count_visits", "net_sales") for span in (28, 56, 84, 182)),
)
MODEL = "**model**"
PLAIN, PLAIN_ONCE = "plain_lightgbm", "plain_lightgbm_trained_once"
PLAIN_ROUNDS = 100

RANKING = ("roc_auc", "average_precision", "ece")
TARGETING = ("roc_auc", "average_precision", "lift_10", "ece")

# The customers of the day, so many times: fewer than a batch, a full one, and 8 times the first.
COPIES = (8, 24, 64)


@dataclass(frozen=True)
class Refreshed:
    """A refreshed warehouse, open for reading."""

    settings: Settings
    connection: duckdb.DuckDBPyConnection
    day: date


def show(title: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints a table as soon as it is there."""
    print(f"\n### {title}\n\n{markdown_table(header, rows).value}", flush=True)


def accuracy(refreshed: Refreshed) -> None:
    """How good the models are."""
    churn_accuracy(refreshed)
    response_accuracy(refreshed)
    demand_accuracy(refreshed)
    value_accuracy(refreshed)
    segments_accuracy(refreshed)


def plain_lightgbm(
    specification: Specification,
    frame: pd.DataFrame,
    columns: Sequence[str],
    tested: pd.DataFrame,
    as_of: Moment | None = None,
) -> Scores:
    """Scores of LightGBM with default parameters for the rows of a backtest, in their order.

    Args:
        specification: Says what was known when.
        frame: Feature rows with labels.
        columns: To learn from.
        tested: Predictions of the backtest.
        as_of: Trained once on what was known then; without it anew for each cut-off, as the model is.
    """
    rows = tested[list(specification.identity)].merge(frame, on=list(specification.identity), how="left")
    settings = {"objective": "binary", "verbosity": -1, "deterministic": True, "force_row_wise": True}
    scores = np.full(len(rows), np.nan)
    moments = days(rows, str(specification.time_column))
    for cut_off in moments.unique():
        there = (moments == cut_off).to_numpy()
        known, label = known_at(specification, frame, as_of or cut_off)
        booster = lgb.train(settings, lgb.Dataset(_numbers(known, columns), label), PLAIN_ROUNDS)
        scores[there] = booster.predict(_numbers(rows[there], columns))
    return scores


def _numbers(frame: pd.DataFrame, columns: Sequence[str]) -> Scores:
    return frame[list(columns)].to_numpy(dtype=np.float64, na_value=np.nan)


def with_scores(tested: Backtest, **scores: Scores) -> Backtest:
    """A backtest with further scores beside its baselines."""
    return replace(tested, predictions=tested.predictions.assign(**scores))


def only(tested: Backtest, wanted: "pd.Series[bool]") -> Backtest:
    """A backtest with some of its rows."""
    return replace(tested, predictions=tested.predictions[wanted])


def show_backtest(title: str, tested: Backtest, metrics: Sequence[str]) -> None:
    """One row per model and baseline: metrics with 95 % intervals, and how far the model is above it, paired."""
    rows = []
    for name in tested.names:
        intervals = tested.metrics(name).intervals
        gain = None if name == tested.specification.score else tested.advantage(name)
        rows.append((_called(tested, name), *(intervals.get(metric) for metric in metrics), gain))
    label = tested.predictions["label"]
    show(
        f"{title}: {len(label):,} rows, {int(label.sum()):,} with {tested.specification.label}",
        ("", *(metric.replace("_", " ") for metric in metrics), "roc auc of the model above it"),
        rows,
    )


def _called(tested: Backtest, name: str) -> str:
    return MODEL if name == tested.specification.score else name


def churn_accuracy(refreshed: Refreshed) -> None:
    """One cut-off with intervals, and the mean of all, beside a plain LightGBM on windows."""
    model = ChurnModel(refreshed.settings.threads)
    spec, frame = model.specification(), model.examples(refreshed.connection, refreshed.day)
    further = [column for column in RFM_WINDOWS if column not in frame]
    windows = refreshed.connection.execute(
        f"select {', '.join([*spec.identity, *further])} from features.customer_features"
    ).df()
    frame = frame.merge(windows, on=list(spec.identity))
    tested = backtest(spec, frame, list(CHURN_CUT_OFFS), threads=model.threads)
    tested = with_scores(tested, **{PLAIN: plain_lightgbm(spec, frame, RFM_WINDOWS, tested.predictions)})
    on_the_day = days(tested.predictions, str(spec.time_column)) == pd.Timestamp(CHURN_TEST)
    show_backtest(f"churn at {CHURN_TEST}", only(tested, on_the_day), RANKING)
    show_means(tested)


def show_means(tested: Backtest) -> None:
    """Mean over the cut-offs, and in how many of them the model is above."""
    measured = {
        name: [tested.metrics(name, draws=0, time=cut_off) for cut_off in CHURN_CUT_OFFS] for name in tested.names
    }
    auc = {name: np.array([metrics.roc_auc for metrics in found], dtype=float) for name, found in measured.items()}
    precision = {
        name: np.mean([metrics.average_precision or 0.0 for metrics in found]) for name, found in measured.items()
    }
    rows, ours = [], tested.specification.score
    for name in tested.names:
        gain = auc[ours] - auc[name]
        above = ("", "") if name == ours else (f"{gain.mean():+.4f}", f"{(gain > 0).sum()} of {len(gain)}")
        rows.append((_called(tested, name), f"{auc[name].mean():.4f}", f"{precision[name]:.4f}", *above))
    show(
        f"churn, mean of the {len(CHURN_CUT_OFFS)} cut-offs from {CHURN_CUT_OFFS[0]} to {CHURN_CUT_OFFS[-1]}",
        ("", "roc auc", "average precision", "roc auc of the model above it", "cut-offs at which it is above"),
        rows,
    )


def response_accuracy(refreshed: Refreshed) -> None:
    """Campaigns on their first day, pooled: those that are over, and all with the responses seen so far."""
    model = ResponseModel(refreshed.settings.threads)
    frame = model.examples(refreshed.connection, refreshed.day)
    # Labels that are not final are shown too. What a day's model learned does not change: windows open then are read
    # by their events.
    spec = model.specification().model_copy(update={"closed_column": None})
    start = days(frame, str(spec.time_column))
    begun = (start >= pd.Timestamp(RESPONSE_FROM)) & (start < pd.Timestamp(refreshed.day))
    tested = backtest(spec, frame, sorted(start[begun].unique()), threads=model.threads)
    columns = [feature for feature in spec.features or () if feature not in spec.categorical]
    anew = plain_lightgbm(spec, frame, columns, tested.predictions)
    once = plain_lightgbm(spec, frame, columns, tested.predictions, RESPONSE_FROM)
    tested = with_scores(tested, **{PLAIN: anew, PLAIN_ONCE: once})
    is_open = tested.predictions["campaign_id"].isin(frame.loc[~frame["is_label_closed"].astype(bool), "campaign_id"])
    since = f"response, campaigns from {RESPONSE_FROM} on"
    for title, part in ((f"{since} that are over", only(tested, ~is_open)), (f"{since}, as seen so far", tested)):
        campaigns = part.predictions["campaign_id"]
        largest = campaigns.value_counts().index[0]
        show_backtest(title, part, TARGETING)
        show_backtest(f"{title}, without campaign {largest}", only(part, campaigns != largest), TARGETING)
    show_campaigns(refreshed.day, frame[begun])


def show_campaigns(day: date, members: pd.DataFrame) -> None:
    """The campaigns tested, and which of them are not over."""
    rows = []
    for campaign, part in members.groupby(["start_date", "campaign_id"]):
        first, last = (pd.Timestamp(part[column].iloc[0]) for column in ("start_date", "end_date"))
        over = "yes" if part["is_label_closed"].all() else f"no, {(pd.Timestamp(day) - first).days} days seen"
        rows.append((campaign[1], first.date(), last.date(), len(part), int(part["has_responded"].sum()), over))
    show(f"campaigns tested, as of {day}", ("campaign", "first day", "last day", "members", "responded", "over"), rows)


def demand_accuracy(refreshed: Refreshed) -> None:
    """Rolling origins at every level, beside the baselines."""
    weekly, promotions, daily = (refreshed.connection.execute(f"from {table}").df() for table in DemandForecast.reads)
    spec = ForecastSpecification()
    tested = forecast_backtest(spec, weekly, refreshed.day.isoformat(), promotions, daily, ORIGINS)
    origin = tested.predictions["origin"]
    department = largest_series(weekly, "department", origin.min())
    rows = [demand_row(level, level, tested) for level in LEVELS if (tested.predictions["level"] == level).any()]
    some = replace(tested, predictions=tested.predictions[tested.predictions["series_id"].isin(department)])
    rows.append(demand_row(f"department, {LARGEST} largest", "department", some))
    covers = (f"{percent} % covers" for percent in spec.intervals)
    show(
        f"demand, WAPE 1 to {spec.judged_horizon} weeks ahead, {origin.nunique()} weekly origins from"
        f" {origin.min().date()} to {origin.max().date()}",
        ("", MODEL, *BASELINES, "ratio to the best of them", "below it by", "bias", *covers),
        rows,
    )


def largest_series(weekly: pd.DataFrame, level: str, before: pd.Timestamp) -> list[str]:
    """The series of a level that sold most before a day."""
    rows = weekly[(weekly["level"] == level) & (days(weekly, "period_start") < before)]
    return list(rows.groupby("series_id")["net_sales"].sum().astype(float).nlargest(LARGEST).index)


def demand_row(name: str, level: str, tested: ForecastBacktest) -> tuple[str, ...]:
    """A level's figures as text; empty where there is none."""
    ours, best = tested.metrics(level), tested.best_baseline(level)
    wape = {baseline: tested.metrics(level, name=baseline).wape for baseline in BASELINES}
    least = wape[best]
    ratio = ours.wape / least if ours.wape is not None and least else None
    numbers = (_text(number) for number in (ours.wape, *wape.values(), ratio))
    advantage = tested.advantage(best, level)
    covered = (_text(ours.coverage.get(percent)) for percent in tested.specification.intervals)
    return name, *numbers, str(advantage or ""), _text(ours.bias), *covered


def value_accuracy(refreshed: Refreshed) -> None:
    """The newest cut-off with intervals, the mean of five, and who became a key account."""
    model = CustomerValue(refreshed.settings.threads)
    spec, frame = model.specification(), model.examples(refreshed.connection, refreshed.day)
    tested = backtest_value(spec, frame, VALUE_CUT_OFFS, threads=model.threads)
    plain = plain_value(spec, frame, tested.predictions)
    tested = replace(tested, predictions=tested.predictions.assign(**{PLAIN: plain}), names=(*tested.names, PLAIN))
    time = days(tested.predictions, spec.time_column)
    by_cut_off = [
        replace(tested, predictions=tested.predictions[time == day]) for day in pd.to_datetime(VALUE_CUT_OFFS)
    ]
    metrics = ("spearman", "normalised_gini", "bias", "coverage_80")
    rows = []
    for name in tested.names:
        newest, all_of_it = by_cut_off[-1].metrics(name), [part.metrics(name, draws=0) for part in by_cut_off]
        means = (f"{np.mean([found[metric].estimate for found in all_of_it]):.4f}" for metric in metrics[:3])
        rows.append((MODEL if name == CHALLENGER else name, *(newest.get(metric, "") for metric in metrics), *means))
    mean_of = (f"{metric.replace('_', ' ')}, mean of {len(VALUE_CUT_OFFS)}" for metric in metrics[:3])
    show(
        f"value of the next {spec.window_days} days at {VALUE_CUT_OFFS[-1]}",
        ("", *(metric.replace("_", " ") for metric in metrics), *mean_of),
        rows,
    )
    lists: dict[str, dict[str, str]] = {}
    for name, metric, value, lower, upper in tested.key_accounts:
        ends = "" if lower is None else f" [{lower:.4f}, {upper:.4f}]"
        lists.setdefault(metric, {})[name] = f"{value:.4f}{ends}"
    told = list(dict.fromkeys(name for found in lists.values() for name in found))
    show(
        f"who becomes a key account, the {len(VALUE_CUT_OFFS)} cut-offs together",
        ("", *told),
        [(metric, *(found.get(name, "") for name in told)) for metric, found in lists.items()],
    )


def plain_value(specification: ValueSpecification, frame: pd.DataFrame, tested: pd.DataFrame) -> Scores:
    """Money by LightGBM with default parameters, trained anew for each cut-off on what was closed by then."""
    rows = tested[list(specification.identity)].merge(frame, on=list(specification.identity), how="left")
    settings = {"objective": "l2", "verbosity": -1, "deterministic": True, "force_row_wise": True}
    scores, moments = np.full(len(rows), np.nan), days(rows, specification.time_column)
    for cut_off in moments.unique():
        there, known = (moments == cut_off).to_numpy(), closed_rows(specification, frame, cut_off)
        label = known[specification.label].to_numpy(dtype=np.float64)
        booster = lgb.train(settings, lgb.Dataset(_numbers(known, specification.features), label), PLAIN_ROUNDS)
        scores[there] = booster.predict(_numbers(rows[there], specification.features))
    return scores


def segments_accuracy(refreshed: Refreshed) -> None:
    """What was compared on the day, and how many customers the kept model moves from week to week."""
    model = CustomerSegments()
    made = challenge_segments(
        model.specification(), model.customers(refreshed.connection, refreshed.day), refreshed.day
    )
    assert made.artefact is not None, made.decision.reasons
    metrics = ("silhouette", "stability", "smallest_share", "fidelity")
    rows = []
    for name, part in made.performance.groupby("name", sort=False):
        found = dict(zip(part["metric"], part["value"], strict=True))
        rows.append((MODEL if name == CHALLENGER else name, *(_text(found.get(metric)) for metric in metrics)))
    kept = SegmentModel.from_text(made.artefact, sha256_of(made.artefact))
    show(f"segments on {refreshed.day}: {kept.chosen_['algorithm']}, {kept.chosen_['segments']}", ("", *metrics), rows)
    weeks = refreshed.connection.execute(
        "select as_of_date from features.feature_cut_offs where is_on_grid order by as_of_date desc limit ?", [WEEKS]
    ).fetchall()
    segments = [
        kept.predict(model.customers(refreshed.connection, day)).set_index("customer_id")["segment_id"]
        for (day,) in reversed(weeks)
    ]
    moved = [float((after.reindex(before.index) != before).mean()) for before, after in pairwise(segments)]
    span = f"{min(moved):.1%} to {max(moved):.1%}"
    print(f"customers who change segment in a week, same model: {span} in {len(moved)} weeks")


def _text(number: float | None) -> str:
    return "" if number is None else f"{number:.4f}"


def cost(refreshed: Refreshed) -> None:
    """What training, scoring and explaining take beside the same work of the bare libraries."""
    rows = [*churn_cost(refreshed), response_cost(refreshed)]
    show(
        f"cost, middle of {REPEATS} taken in turns",
        ("", "seconds", "floor", "floor seconds", "ratio"),
        [(name, f"{ours:.2f}", floor, f"{bare:.2f}", f"{ours / bare:.2f}") for name, floor, (ours, bare) in rows],
    )


def in_turns(ours: Callable[[], object], floor: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the one and the other, the middle of some."""
    taken = [(_seconds(ours), _seconds(floor)) for _ in range(REPEATS)]
    return statistics.median(pair[0] for pair in taken), statistics.median(pair[1] for pair in taken)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@contextmanager
def recorded(owner: Any, name: str) -> Iterator[list[tuple[Any, ...]]]:
    """The arguments of every call of a function or method that is made meanwhile."""
    original, calls = getattr(owner, name), []

    def record(*arguments: Any) -> Any:
        calls.append(arguments)
        return original(*arguments)

    with mock.patch.object(owner, name, record):
        yield calls


def bare_training(calls: list[tuple[Any, ...]]) -> list[lgb.Booster]:
    """The same boosters from the same matrices; like the model, it sorts a matrix into bins once."""
    fresh = {
        id(data): lgb.Dataset(data.get_data(), data.get_label(), params=data.params, free_raw_data=False)
        for _, data, _ in calls
    }
    return [lgb.train(settings, fresh[id(data)], rounds) for settings, data, rounds in calls]


def churn_cost(refreshed: Refreshed) -> Iterator[tuple[str, str, tuple[float, float]]]:
    """Training with scoring of the day, and explaining the day's scores."""
    model = ChurnModel(refreshed.settings.threads)
    spec, frame = model.specification(), model.examples(refreshed.connection, refreshed.day)
    due = eligible(spec, customers_of_the_day(refreshed, spec))
    with recorded(lgb, "train") as calls:
        fitted = PropensityModel(spec, model.threads).fit(frame, refreshed.day)
    matrix = fitted.blend_.preprocessor.transform(due)
    boosters = fitted.blend_.boosters

    def train_and_score() -> None:
        PropensityModel(spec, model.threads).fit(frame, refreshed.day).predict(due)

    def floor() -> None:
        for booster in bare_training(calls)[: len(boosters)]:
            booster.predict(matrix, num_threads=model.threads)

    def explain() -> None:
        list(fitted.predict_batches([due], REASONS))

    def bare_explain() -> None:
        for booster in boosters:
            booster.predict(matrix, pred_contrib=True, num_threads=model.threads)

    rows = f"{fitted.rows_:,} rows, {len(due):,} scored"
    yield (
        f"churn: train and score, {rows}",
        f"LightGBM, the same {len(calls)} boosters",
        in_turns(train_and_score, floor),
    )
    yield (
        f"churn: score and explain {len(due):,} rows, {REASONS} reasons",
        f"LightGBM's pred_contrib of {len(boosters)} boosters",
        in_turns(explain, bare_explain),
    )


def customers_of_the_day(refreshed: Refreshed, specification: Specification) -> pd.DataFrame:
    """What a model reads of the refreshed day."""
    columns = dict.fromkeys([*specification.identity, *(specification.features or ())])
    return refreshed.connection.execute(
        f"select {', '.join(columns)} from features.customer_features where as_of_date = $day", {"day": refreshed.day}
    ).df()


def response_cost(refreshed: Refreshed) -> tuple[str, str, tuple[float, float]]:
    """Training."""
    model = ResponseModel(refreshed.settings.threads)
    spec, frame = model.specification(), model.examples(refreshed.connection, refreshed.day)
    with recorded(LogisticRegression, "fit") as calls:
        fitted = PropensityModel(spec, model.threads).fit(frame, refreshed.day)
    # Without the sigmoid of the calibration.
    calls = [call for call in calls if call[0].solver == "newton-cholesky"]

    def floor() -> None:
        for regression, matrix, label in calls:
            clone(regression).fit(matrix, label)

    return (
        f"response: train, {fitted.rows_:,} rows",
        f"scikit-learn's LogisticRegression, the same {len(calls)} fits",
        in_turns(lambda: PropensityModel(spec, model.threads).fit(frame, refreshed.day), floor),
    )


def memory(refreshed: Refreshed) -> None:
    """The most memory that scoring and training hold, each in a process of its own."""
    model = ChurnModel(refreshed.settings.threads)
    frame = model.examples(refreshed.connection, refreshed.day)
    content = PropensityModel(model.specification(), model.threads).fit(frame, refreshed.day).text()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "model.json").write_bytes(content)
        measured = {}
        for copies in (0, *COPIES):
            customers = replicate(refreshed, folder / f"{copies}.duckdb", copies)
            measured[customers] = alone("score_all", folder / f"{copies}.duckdb", folder / "model.json", refreshed.day)
        show_scoring(measured)
        show_training(refreshed, folder)


def replicate(refreshed: Refreshed, path: Path, copies: int) -> int:
    """A warehouse with the customers of the refreshed day, so many times; returns how many there are to score."""
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            f"attach '{refreshed.settings.warehouse_path}' as warehouse (read_only); create schema features"
        )
        for table in ("customer_features", "customer_labels"):
            connection.execute(
                f"create table features.{table} as select * replace (customer_id || '-' || copy as customer_id)"
                f" from warehouse.features.{table} cross join range({copies}) as copies(copy)"
                f" where as_of_date = date '{refreshed.day}'"
            )
        counted = connection.execute("select count(*) from features.customer_labels where is_eligible_for_churn")
        return int(counted.fetchall()[0][0])


def alone(function: str, *arguments: object) -> Measured:
    """A function of this module in a new interpreter, given its arguments as text."""
    call = f"models.{function}({', '.join(repr(str(argument)) for argument in arguments)})"
    return measure([sys.executable, "-c", f"from tests.benchmarks import models; {call}"], dict(os.environ))


def score_all(warehouse: str, model: str, day: str) -> None:
    """Scores all customers as a refresh does, and keeps none of the frames."""
    settings, content = load_settings(), Path(model).read_bytes()
    registered = RegisteredModel("benchmark", date.fromisoformat(day), sha256_of(content), content)
    with _open(settings, Path(warehouse), Path(warehouse).parent) as connection:
        for _ in ChurnModel(settings.threads).score(connection, date.fromisoformat(day), registered):
            continue


def train(name: str, warehouse: str, spill: str, day: str) -> None:
    """Trains a model as of a day; without a name, none."""
    settings = load_settings()
    with _open(settings, Path(warehouse), Path(spill)) as connection:
        model = tunable(settings).get(name)
        if model is not None:
            frame = model.examples(connection, date.fromisoformat(day))
            PropensityModel(model.specification(), model.threads).fit(frame, day)


def _open(settings: Settings, warehouse: Path, spill: Path) -> duckdb.DuckDBPyConnection:
    config = settings.duckdb_config() | {"temp_directory": str(spill / "spilled")}
    return duckdb.connect(str(warehouse), read_only=True, config=dict(config))


def show_scoring(measured: dict[int, Measured]) -> None:
    """Peaks by number of customers scored, the first of them none."""
    start, *_, most = (taken.peak_bytes for taken in measured.values())
    show(
        f"memory of scoring churn with {REASONS} reasons, batches of {BATCH_VECTORS * 2048:,} rows",
        ("customers", "seconds", "peak MiB", "MiB above none", "the most to it", "customers, the most to it"),
        [
            (
                *(customers, f"{taken.seconds:.1f}", _mib(taken.peak_bytes), _mib(taken.peak_bytes - start)),
                f"{most / taken.peak_bytes:.2f}",
                f"{max(measured) / customers:.1f}" if customers else "",
            )
            for customers, taken in measured.items()
        ],
    )


def show_training(refreshed: Refreshed, spill: Path) -> None:
    """Peaks of training beside those of a process that only loads the libraries."""
    names = ("", *tunable(refreshed.settings))
    measured = {name: alone("train", name, refreshed.settings.warehouse_path, spill, refreshed.day) for name in names}
    start = measured[""].peak_bytes
    show(
        "memory of training",
        ("model", "seconds", "peak MiB", "MiB above none"),
        [
            (name or "none", f"{taken.seconds:.1f}", _mib(taken.peak_bytes), _mib(taken.peak_bytes - start))
            for name, taken in measured.items()
        ],
    )


def _mib(size: int) -> int:
    return round(size / 2**20)


PARTS: dict[str, Callable[[Refreshed], None]] = {"accuracy": accuracy, "cost": cost, "memory": memory}


def run(program: str, description: str, known: Mapping[str, Callable[[Refreshed], None]]) -> int:
    """Measures and prints the parts that the command line names, of a refreshed warehouse."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("parts", nargs="*", choices=list(known), help="what to measure; without any, all of it")
    parts = parser.parse_args().parts or list(known)
    settings = load_settings()
    if not settings.warehouse_path.exists():
        print(f"{settings.warehouse_path} does not exist. Run make refresh first", file=sys.stderr)
        return 2
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        day = connection.execute("select as_of_date from control.refresh").fetchall()[0][0]
        print(f"{settings.warehouse_path}, as of {day}", flush=True)
        for part in parts:
            print(f"\n## {part}", flush=True)
            known[part](Refreshed(settings, connection, day))
    return 0


if __name__ == "__main__":
    sys.exit(run("tests.benchmarks.models", (__doc__ or "").splitlines()[0], PARTS))
