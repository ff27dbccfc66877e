"""A day's challenge in recommendations: windows held out, the ranker beside baselines; a decision, card and pictures.

The model is elsewhere, and so is who registers or publishes what comes out.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ml.artefact import sha256_of
from ml.decision import CHALLENGER, CHAMPION, HOLD_OUT, PERFORMANCE_COLUMNS, Challenge, Decision, without_challenger
from ml.evaluation import Interval
from ml.model_card import markdown_rows
from ml.plots import OURS, THEIRS, new_figure, to_png
from ml.recommendation_baselines import (
    BASELINES,
    OF_OWN_ONLY,
    PERSONAL_FREQUENCY,
    POPULARITY,
    RECENT_FREQUENCY,
    baseline_scores,
    popularity_share,
)
from ml.recommendation_evaluation import (
    COVERAGE,
    NDCG,
    NEW,
    NOVELTY,
    PER_CUSTOMER,
    RECALL,
    Judged,
    per_customer,
    top_rows,
    variety,
)
from ml.recommendation_examples import Examples, Lesson
from ml.recommendation_history import Catalogue, Purchases, count_visits
from ml.recommendation_lists import make_lists
from ml.recommendation_specification import RecommendationSpecification, closed_cut_offs
from ml.recommender import RecommendationModel
from ml.specification import Moment, Scores, TooLittleDataError

WITHOUT_LIMIT = "challenger_without_limit"
METRICS = (*PER_CUSTOMER, COVERAGE, NOVELTY)
# What the ranker must beat, and where.
GATE = ((PERSONAL_FREQUENCY, RECALL), (POPULARITY, RECALL), (POPULARITY, RECALL + NEW))


@dataclass(frozen=True)
class Backtest:
    """The rankings of held-out cut-offs beside what was bought then.

    Attributes:
        specification: Of the model.
        judged: Of the challenger, the baselines and, where it can be compared, the champion.
        times: The cut-offs, oldest first.
        has_champion: There is one.
        incomparable: Why the champion's recipe could not be compared; empty where it could.
    """

    specification: RecommendationSpecification
    judged: Judged
    times: tuple[pd.Timestamp, ...]
    has_champion: bool = False
    incomparable: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Rankings that were measured."""
        return tuple(self.judged.values)

    def judge(self) -> Decision:
        """Gate 3 on these rows."""
        over = {pair: self.judged.advantage(*pair, ours=CHALLENGER) for pair in GATE}
        champion = self.judged.advantage(CHAMPION, RECALL, ours=CHALLENGER) if CHAMPION in self.names else None
        rows = len(np.unique(self.judged.customer))
        return decide_recommendations(self.specification, rows, over, self.has_champion, champion, self.incomparable)


def decide_recommendations(
    specification: RecommendationSpecification,
    customers: int,
    advantages: Mapping[tuple[str, str], Interval],
    has_champion: bool = False,
    over_champion: Interval | None = None,
    incomparable: str = "",
) -> Decision:
    """Whether a challenger is better than frequency and popularity, and not worse than the champion.

    It fails closed: what was not measured, or is not finite, speaks against the challenger.

    Args:
        specification: With the limits.
        customers: In the hold-out.
        advantages: By baseline and metric, of GATE.
        has_champion: There is one.
        over_champion: Advantage over it; None where it could not be measured.
        incomparable: Why there is nothing to compare.
    """
    against: list[str] = []
    pro: list[str] = []

    def said(text: str, holds: bool) -> None:
        (pro if holds else against).append(text)

    enough = customers >= specification.min_judged
    needed = "" if enough else f"; needed are {specification.min_judged}"
    said(f"the hold-out has {customers} customers{needed}", enough)
    for baseline, metric in GATE:
        found, what = advantages.get((baseline, metric)), _in_words(metric)
        if found is None or not found.is_finite:
            said(f"the advantage over the baseline {baseline} in {what} could not be measured", False)
        else:
            better = found.lower > 0
            word = "better" if better else "not better"
            said(f"{what} {word} than that of the baseline {baseline} beyond noise: {found}", better)
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
    made = without_challenger(*against, has_champion=has_champion)
    if has_champion:
        return made
    fallback = (
        "there is no champion either: the lists are those of the baselines and named so:"
        f" {PERSONAL_FREQUENCY} for what to buy again, {POPULARITY} for what to discover"
    )
    return replace(made, reasons=(*against, fallback))


def _in_words(metric: str) -> str:
    name = metric.removesuffix(NEW).replace("recall_10", "Recall@10").replace("ndcg_10", "nDCG@10")
    return f"{name} of products never bought before" if metric.endswith(NEW) else f"{name} of all products"


class _Course:
    """The closed cut-offs as of a day: which are held out, which teach, and their lessons, each made once."""

    def __init__(self, specification: RecommendationSpecification, purchases: Purchases, as_of: Moment) -> None:
        spec = specification
        first = pd.Timestamp(int(purchases.day.min()), unit="D") if len(purchases) else pd.Timestamp(as_of)
        times = closed_cut_offs(spec, first, as_of)
        self.held_out = times[: spec.held_out_cut_offs]
        self.before = times[spec.held_out_cut_offs :][: spec.parameters.teaching_cut_offs]
        self.newest = times[: spec.parameters.teaching_cut_offs]
        if not self.before:
            needed = spec.min_history_days + (spec.held_out_cut_offs + 1) * spec.window_days
            raise TooLittleDataError(
                f"{spec.name}: too little history as of {pd.Timestamp(as_of).date()}: the first purchase of a product"
                f" that may be recommended is of {first.date() if len(purchases) else 'no day'}, needed are {needed}"
                f" days: {spec.held_out_cut_offs} windows held out, one that teaches, and history before it"
            )


def backtest(
    specification: RecommendationSpecification,
    catalogue: Catalogue,
    purchases: Purchases,
    as_of: Moment,
    threads: int = 0,
) -> tuple[Judged, dict[pd.Timestamp, Lesson]]:
    """Ranks held-out cut-offs by a model that was taught by windows that had closed before the first of them.

    Args:
        specification: The model.
        catalogue: All products.
        purchases: Before `as_of`.
        as_of: A midnight.
        threads: Of LightGBM.

    Returns:
        What was measured, and the lessons of all cut-offs, by time.

    Raises:
        TooLittleDataError: There is not enough history, or nothing to tell apart in it.
    """
    spec, course = specification, _Course(specification, purchases, as_of)
    lessons: dict[pd.Timestamp, Lesson] = {}
    for time in course.before:
        examples = Examples.of(spec, catalogue, purchases, time, spec.parameters.teaching_customers)
        lessons[time] = Lesson.of(spec, examples)
    model = RecommendationModel(spec, threads)
    model.learn([lessons[time] for time in course.before], course.before, course.held_out[-1])
    parts = []
    for time in reversed(course.held_out):
        customers = max(spec.judged_customers, spec.parameters.teaching_customers)
        examples = Examples.of(spec, catalogue, purchases, time, customers)
        if len(examples.turn):
            parts.append(_judge(spec, examples, model))
        if time in course.newest:
            lessons[time] = Lesson.of(spec, examples)
    if not parts:
        raise TooLittleDataError(
            f"{spec.name}: nobody bought a product that may be recommended in the held-out windows"
        )
    return Judged.of(parts), {time: lessons[time] for time in course.newest}


def _judge(specification: RecommendationSpecification, examples: Examples, model: RecommendationModel) -> Judged:
    """All rankings of a cut-off, as they would have been published, but for the segments, which came later."""
    rows, items = examples.rows, examples.items
    visits = count_visits(examples.theirs)
    scores = model.score(examples.features)
    # Who has hardly any history gets what is popular, whatever the ranker says.
    scores = np.where(visits[rows.customer] < specification.min_visits, popularity_share(items)[rows.product], scores)
    values: dict[str, dict[str, Scores]] = {}
    spread: dict[str, dict[str, float]] = {}
    for name, is_limited in ((CHALLENGER, True), (WITHOUT_LIMIT, False)):
        made = make_lists(specification, rows, scores, items.catalogue.kinds, is_limited)
        is_new = rows.is_new[made.row]
        values[name] = per_customer(examples, made.row, made.rank)
        values[name] |= per_customer(examples, made.row[is_new], made.list_rank[is_new], only_new=True)
        spread[name] = variety(items, rows, made.row, made.rank)
    for name in BASELINES:
        said = baseline_scores(name, items, examples.pairs, rows, visits)
        row, rank = top_rows(rows, said)
        values[name] = per_customer(examples, row, rank)
        if name not in OF_OWN_ONLY:
            values[name] |= per_customer(examples, *top_rows(rows, said, only_new=True), only_new=True)
        spread[name] = variety(items, rows, row, rank)
    ids = examples.theirs.customer_ids.to_numpy(dtype=object)
    return Judged(ids, np.full(len(ids), str(examples.time.date()), dtype=object), values, spread, specification.seed)


def challenge_recommendations(
    specification: RecommendationSpecification,
    purchases: pd.DataFrame,
    products: pd.DataFrame,
    as_of: Moment,
    champion: RecommendationModel | None = None,
    threads: int = 0,
) -> Challenge:
    """Trains on what was known at `as_of`, and judges the recipe on the newest closed windows.

    Rules are not asked: those of the day know the windows held out.

    Args:
        specification: The model.
        purchases: As for `RecommendationModel.fit`.
        products: As for `RecommendationModel.fit`.
        as_of: A midnight.
        champion: The one in force; None where there is none. Its recipe is taught anew as of the same days.
        threads: Of LightGBM.

    Returns:
        The challenge; where there is too little data, or a column that cannot be read, one without an artefact whose
        decision says what is there and what is needed.
    """
    spec = specification
    try:
        catalogue = Catalogue.of(spec, products)
        known = Purchases.of(spec, catalogue, purchases, as_of)
        judged, lessons = backtest(spec, catalogue, known, as_of, threads)
        judged, incomparable = _beside(spec, judged, champion, catalogue, known, as_of, threads)
        model = RecommendationModel(spec, threads).learn(list(lessons.values()), list(lessons), as_of)
    except ValueError as error:
        return Challenge(without_challenger(str(error), has_champion=champion is not None))
    times = tuple(pd.Timestamp(time) for time in np.unique(judged.time))
    tested = Backtest(spec, judged, times, champion is not None, incomparable)
    decision, text = tested.judge(), model.text()
    first, last = times[0].date(), (times[-1] + pd.Timedelta(days=spec.window_days - 1)).date()
    tested_on = f"{len(times)} windows of {spec.window_days} days held out, {first} to {last}"
    measured = measure(judged)
    return Challenge(
        decision=decision,
        artefact=text,
        performance=pd.DataFrame(list(_performance(tested, measured, first, last)), columns=list(PERFORMANCE_COLUMNS)),
        parameters={**spec.parameters.model_dump(), "seed": spec.seed, "rows": model.rows_}
        | {"cut_offs": len(model.cut_offs_), "max_per_category": spec.max_per_category or 0}
        | {"sold_within_days": spec.sold_within_days, "list_length": spec.list_length},
        pictures={"rankings": rankings_plot(f"{spec.name}: {tested_on}", measured)},
        card=recommendation_card(model, tested, measured, tested_on, decision, sha256_of(text)),
    )


def _beside(
    specification: RecommendationSpecification,
    judged: Judged,
    champion: RecommendationModel | None,
    catalogue: Catalogue,
    purchases: Purchases,
    as_of: Moment,
    threads: int,
) -> tuple[Judged, str]:
    """The same with the champion's recipe in it, and why it could not be compared, if so."""
    if champion is None:
        return judged, ""
    theirs = champion.specification
    if theirs.window_days != specification.window_days:
        return judged, f"the champion looks {theirs.window_days} days ahead, not {specification.window_days}"
    recipe = specification.model_copy(update={"parameters": theirs.parameters, "seed": theirs.seed})
    if recipe == specification:
        values, spread = judged.values[CHALLENGER], judged.variety[CHALLENGER]
    else:
        other, _ = backtest(
            specification.model_copy(update={"parameters": theirs.parameters}), catalogue, purchases, as_of, threads
        )
        values, spread = other.values[CHALLENGER], other.variety[CHALLENGER]
    return replace(
        judged,
        values={**judged.values, CHAMPION: values},
        variety={**judged.variety, CHAMPION: spread},
    ), ""


Measured = Mapping[str, Mapping[str, Interval]]


def measure(judged: Judged) -> dict[str, dict[str, Interval]]:
    """Every metric that is defined, by ranking; coverage and novelty without an interval."""
    none = float("nan")
    return {
        name: {metric: judged.mean(name, metric) for metric in columns}
        | {metric: Interval(value, none, none) for metric, value in judged.variety[name].items()}
        for name, columns in judged.values.items()
    }


def _performance(tested: Backtest, measured: Measured, first: Any, last: Any) -> Iterator[tuple[Any, ...]]:
    judged = tested.judged
    for name, metrics in measured.items():
        role = name if name in (CHALLENGER, CHAMPION) else "baseline"
        if name == WITHOUT_LIMIT:
            continue
        where = name, role, HOLD_OUT, first, last
        yield *where, "rows", float(len(judged.customer)), None, None
        for metric, interval in metrics.items():
            if math.isfinite(interval.estimate):
                ends = (interval.lower, interval.upper) if interval.is_finite else (None, None)
                yield *where, metric, interval.estimate, *ends
    where = CHALLENGER, CHALLENGER, HOLD_OUT, first, last
    for baseline, metric in GATE:
        found = judged.advantage(baseline, metric, ours=CHALLENGER)
        if found.is_finite:
            yield *where, f"{metric}_above_{baseline}", found.estimate, found.lower, found.upper
    for metric in (RECALL, NDCG, RECALL + NEW, NDCG + NEW):
        found = measured[WITHOUT_LIMIT][metric]
        if found.is_finite:
            yield *where, f"{metric}_without_limit", found.estimate, found.lower, found.upper


def rankings_plot(title: str, measured: Measured) -> bytes:
    """Recall@10 of every ranking with its interval: of all products, and of those never bought before. PNG."""
    figure = new_figure(10, 4.2)
    for axes, metric, what in zip(
        figure.subplots(1, 2), (RECALL, RECALL + NEW), ("all products", "products never bought before"), strict=True
    ):
        found = {name: metrics[metric] for name, metrics in measured.items() if metric in metrics}
        found = {name: interval for name, interval in found.items() if interval.is_finite}
        names = sorted(found, key=lambda name: (found[name].estimate, name))
        values = [found[name].estimate for name in names]
        ends = [
            [found[n].estimate - found[n].lower for n in names],
            [found[n].upper - found[n].estimate for n in names],
        ]
        colours = [OURS if name.startswith(CHALLENGER) else THEIRS for name in names]
        axes.barh(range(len(names)), values, xerr=ends, color=colours, error_kw={"linewidth": 1})
        axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
        axes.set(xlabel="Recall@10", title=what)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    return to_png(figure)


def recommendation_card(
    model: RecommendationModel,
    tested: Backtest,
    measured: Measured,
    tested_on: str,
    decision: Decision,
    sha256: str,
) -> str:
    """The model card in Markdown (Mitchell et al. 2019).

    Args:
        model: Fitted.
        tested: Its backtest.
        measured: By ranking and metric, from `measure`.
        tested_on: Which hold-out, in words.
        decision: Of gate 3.
        sha256: Of the artefact.
    """
    spec = model.specification
    excluded = dict.fromkeys((*spec.excluded_departments, *spec.excluded_categories, *spec.excluded_products))
    limit = "no limit" if spec.max_per_category is None else f"{spec.max_per_category} of a category in a list"
    facts = [
        ("Predicts", f"which products a customer buys within {spec.window_days} days"),
        ("Lists", f"`buy_again` and `discover`, {spec.list_length} products each at most; {limit}"),
        ("Never recommends", f"what nobody bought in {spec.sold_within_days} days; {', '.join(excluded)}"),
        ("Knows", f"what was known on {model.as_of_[:10]}; cut-offs {', '.join(model.cut_offs_)}"),
        ("Trained on", f"{model.rows_:,} candidates of {model.customers_:,} customers and cut-offs"),
        ("Features", f"{len(model.importance_)}"),
        ("SHA-256", f"`{sha256}`"),
    ]
    lines = [f"# Model card: {spec.name}", "", spec.purpose, "", *markdown_rows(("", ""), facts)]
    table = [[name, *(_cell(metric, metrics.get(metric)) for metric in METRICS)] for name, metrics in measured.items()]
    lines += ["", f"## Measured on {tested_on}", "", *markdown_rows(("", *METRICS), table)]
    lines += ["", "All rankings order the same candidates; the baselines know no limit per category."]
    shown = (CHALLENGER, RECENT_FREQUENCY, POPULARITY)
    by_time = {(n, m): tested.judged.by_time(n, m) for n in shown for m in (RECALL, RECALL + NEW) if m in measured[n]}
    rows = [
        [time, *(f"{values[time]:.4f}" for values in by_time.values())] for time in by_time[CHALLENGER, RECALL].index
    ]
    lines += ["", "## Window by window", "", *markdown_rows(("from", *(f"{n}: {m}" for n, m in by_time)), rows)]
    lines += ["", f"## Gate: {'promoted' if decision.promote else 'not promoted'}, scores: {decision.scores}", ""]
    lines += [f"- {reason}" for reason in decision.reasons]
    strongest = [(f"`{name}`", f"{share:.1%}") for name, share in list(model.importance_.items())[:15]]
    lines += ["", "## What it looks at", "", *markdown_rows(("feature", "share of the gain"), strongest)]
    fields = type(spec.parameters).model_fields
    settings = [(f"`{name}`", getattr(spec.parameters, name), field.description) for name, field in fields.items()]
    lines += ["", "## Parameters", "", *markdown_rows(("parameter", "value", "why"), settings)]
    return "\n".join(lines) + "\n"


def _cell(metric: str, interval: Interval | None) -> str:
    if interval is None or not math.isfinite(interval.estimate):
        return ""
    style = ".2f" if metric == NOVELTY else ".4f"
    text = f"{interval.estimate:{style}}"
    return f"{text} [{interval.lower:{style}}, {interval.upper:{style}}]" if interval.is_finite else text
