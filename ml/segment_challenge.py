"""A day's challenge in segments: does drift ask for new ones, are they worth having; a decision, card and pictures.

The model is elsewhere, and so is who registers, assigns or publishes what comes out.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from ml.artefact import sha256_of
from ml.decision import (
    CHALLENGER,
    CHAMPION,
    PERFORMANCE_COLUMNS,
    Challenge,
    Decision,
    champion_kept,
    without_challenger,
)
from ml.model_card import markdown_rows
from ml.plots import OURS, THEIRS, new_figure, to_png
from ml.segment_choice import ALGORITHMS
from ml.segments import Measured, SegmentModel, SegmentSpecification, day_rows, separation
from ml.specification import Moment

PERMUTED = "permuted_columns"
REFRESHED_DAY = "refreshed_day"
COLOURS = dict(zip(ALGORITHMS, (OURS, "#c46a1b", THEIRS), strict=True))
SHADES_TO = 1.5


def challenge_segments(
    specification: SegmentSpecification, frame: pd.DataFrame, as_of: Moment, champion: SegmentModel | None = None
) -> Challenge:
    """Keeps the champion's segments while they fit the day's customers; else finds new ones, and judges them.

    Args:
        specification: The model.
        frame: The customers of the day: keys, time column and features, in any order.
        as_of: The day.
        champion: The model in force; None where there is none.

    Returns:
        The challenge; without an artefact where nothing asked for new segments, or none could be found.
    """
    has_champion = champion is not None
    try:
        rows = day_rows(specification, frame, as_of)
        today = _today(champion, rows)
        asked, calm = reasons_to_refit(specification, champion, today)
        if champion is not None and today is not None and not asked:
            return _kept(champion, today, champion_kept(*calm), as_of)
        model = SegmentModel(specification).fit(rows, as_of, champion)
        measured = model.measure(rows)
    except ValueError as error:
        return Challenge(without_challenger(str(error), has_champion=has_champion))
    decision = _judge(model, rows, asked, champion, today)
    text = model.text()
    changed = _changed(model, champion, rows, today, decision.promote)
    promoted = decision.promote
    old = [] if champion is None or today is None else _of(CHAMPION, champion, today, None if promoted else changed)
    return Challenge(
        decision=decision,
        artefact=text,
        performance=_table(as_of, _of(CHALLENGER, model, measured, changed if promoted else None), _others(model), old),
        parameters=_parameters(model),
        pictures={
            "segments": segments_picture(model, measured.shares, str(pd.Timestamp(as_of).date())),
            "choice": choice_picture(model),
        },
        card=segment_card(model, measured, decision, sha256_of(text)),
    )


def _today(champion: SegmentModel | None, rows: pd.DataFrame) -> Measured | None:
    if champion is None or not set(champion.features_) <= set(rows.columns):
        return None
    return champion.measure(rows)


def reasons_to_refit(
    specification: SegmentSpecification, champion: SegmentModel | None, today: Measured | None
) -> tuple[list[str], list[str]]:
    """What asks for new segments, and what does not: sentences.

    Args:
        specification: Of today, with the limits.
        champion: The model in force.
        today: It on the customers of the day; None where they lack what it reads.
    """
    asked: list[str] = []
    calm: list[str] = []
    if champion is None:
        return ["there are no segments yet"], calm
    old, rule = champion.specification, specification.refit
    if (old.features, old.parameters) != (specification.features, specification.parameters):
        asked.append("the features or the settings are no longer those of the segments in force")
    if today is None:
        return [*asked, f"there is no column for all of {', '.join(champion.features_)}"], calm

    def said(text: str, drifted: bool) -> None:
        (asked if drifted else calm).append(text)

    feature = max(today.psi, key=lambda name: today.psi[name])
    said(f"drift of {feature}: PSI {today.drift:.3f}, allowed is {rule.max_psi:g}", not today.drift <= rule.max_psi)
    at_fit = float(champion.chosen_["silhouette"])
    least = at_fit - rule.max_silhouette_fall * abs(at_fit)
    said(
        f"silhouette {today.silhouette:.3f}, at the fit {at_fit:.3f}, needed is {least:.3f}",
        not today.silhouette >= least,
    )
    said(
        f"{today.far_share:.1%} of the customers are far from every centre, allowed are {rule.max_far_share:.1%}",
        not today.far_share <= rule.max_far_share,
    )
    empty = [str(number) for number, share in today.shares.items() if share == 0]
    said(f"segment {', '.join(empty)} is empty" if empty else "no segment is empty", bool(empty))
    return asked, calm


def _judge(
    model: SegmentModel,
    rows: pd.DataFrame,
    asked: list[str],
    champion: SegmentModel | None,
    today: Measured | None,
) -> Decision:
    """Whether new segments come into force: stable, real, not too small, not clearly worse than the old ones."""
    parameters, chosen = model.specification.parameters, model.chosen_
    against: list[str] = []
    pro: list[str] = []

    def said(text: str, holds: bool) -> None:
        (pro if holds else against).append(text)

    stable = bool(chosen["stability"] >= parameters.min_stability)
    said(
        f"{'stable' if stable else 'not stable'}: adjusted Rand index {chosen['stability']:.2f} [{chosen['lower']:.2f},"
        f" {chosen['upper']:.2f}] on bootstrap samples, needed is {parameters.min_stability:g}",
        stable,
    )
    advantage = chosen["silhouette"] - model.permuted_silhouette_
    said(
        f"silhouette {chosen['silhouette']:.3f} against {model.permuted_silhouette_:.3f} of the baseline {PERMUTED},"
        f" needed is {parameters.min_advantage:g} more",
        bool(advantage >= parameters.min_advantage),
    )
    smallest = min(model.segments_, key=lambda segment: segment.share)
    said(
        f"the smallest segment has {smallest.share:.1%} of the customers, needed are {parameters.min_share:.1%}",
        smallest.share >= parameters.min_share,
    )
    if champion is not None:
        if today is None or champion.features_ != model.features_:
            said("the champion is made of other features: nothing to compare", True)
        else:
            theirs = champion.predict(rows)["segment_id"].to_numpy(dtype=np.int64)
            before, now = separation(model, rows, theirs), float(chosen["silhouette"])
            least = before - model.specification.refit.max_silhouette_loss * abs(before)
            better = now >= least
            word = "not clearly worse" if better else "clearly worse"
            said(f"{word} than the champion on the day's customers: silhouette {now:.3f} against {before:.3f}", better)
    if not against:
        return Decision(True, (*asked, *pro), "challenger")
    return without_challenger(*asked, *against, has_champion=champion is not None)


def _changed(
    model: SegmentModel, champion: SegmentModel | None, rows: pd.DataFrame, today: Measured | None, promoted: bool
) -> float | None:
    if champion is None or (promoted and today is None):
        return None
    if not promoted:
        return 0.0
    before, now = (which.predict(rows)["segment_id"].to_numpy() for which in (champion, model))
    return float((before != now).mean())


def _kept(champion: SegmentModel, today: Measured, decision: Decision, as_of: Moment) -> Challenge:
    day = str(pd.Timestamp(as_of).date())
    return Challenge(
        decision=decision,
        performance=_table(as_of, _of(CHAMPION, champion, today, 0.0)),
        parameters=_parameters(champion),
        pictures={"segments": segments_picture(champion, today.shares, day)},
        card=segment_card(champion, today, decision, sha256_of(champion.text())),
    )


def _parameters(model: SegmentModel) -> dict[str, Any]:
    spec = model.specification
    return {
        **spec.parameters.model_dump(),
        **spec.refit.model_dump(),
        "seed": spec.seed,
        "rows": model.rows_,
        "features": len(model.features_),
        "algorithm": model.chosen_["algorithm"],
        "segments": len(model.segments_),
    }


def _table(as_of: Moment, *parts: Iterable[tuple[Any, ...]]) -> pd.DataFrame:
    day = (pd.Timestamp(as_of) - pd.Timedelta(days=1)).date()  # the last that the features have seen
    rows = [(name, role, REFRESHED_DAY, day, day, *rest) for name, role, *rest in chain(*parts)]
    return pd.DataFrame(rows, columns=list(PERFORMANCE_COLUMNS))


def _others(model: SegmentModel) -> Iterator[tuple[Any, ...]]:
    """The candidates that were not kept, and data without joint structure."""
    for facts in model.candidates_:
        if facts == model.chosen_:
            continue
        name = f"{facts['algorithm']}_{facts['segments']}"
        yield name, "baseline", "silhouette", facts["silhouette"], None, None
        yield name, "baseline", "stability", facts["stability"], facts["lower"], facts["upper"]
        yield name, "baseline", "segments", float(facts["segments"]), None, None
        yield name, "baseline", "smallest_share", facts["smallest_share"], None, None
    yield PERMUTED, "baseline", "silhouette", model.permuted_silhouette_, None, None


def _of(name: str, model: SegmentModel, measured: Measured, changed: float | None) -> Iterator[tuple[Any, ...]]:
    chosen = model.chosen_
    yield name, name, "silhouette", measured.silhouette, None, None
    yield name, name, "stability", chosen["stability"], chosen["lower"], chosen["upper"]
    yield name, name, "segments", float(len(model.segments_)), None, None
    yield name, name, "smallest_share", min(measured.shares.values()), None, None
    # Of a model fitted today on customers held out from the tree, of an older one on all of today.
    yield name, name, "fidelity", model.fidelity_ if name == CHALLENGER else measured.fidelity, None, None
    yield name, name, "drift", measured.drift, None, None
    yield name, name, "far_share", measured.far_share, None, None
    if changed is not None:
        yield name, name, "changed_same_behaviour", changed, None, None


def segments_picture(model: SegmentModel, shares: Mapping[int, float], day: str) -> bytes:
    """A heat map: how each segment differs from all customers, in standard deviations. PNG.

    Args:
        model: Fitted.
        shares: Share of the customers by segment.
        day: Of the shares.
    """
    segments, features = sorted(model.segments_, key=lambda segment: segment.id), model.features_
    differences = np.array([[segment.differences[name] for name in features] for segment in segments])
    figure = new_figure(5.2 + 0.95 * len(features), 1.9 + 0.55 * len(segments))
    axes = figure.subplots()
    image = axes.imshow(differences, cmap="RdBu_r", vmin=-SHADES_TO, vmax=SHADES_TO, aspect="auto")
    for (row, column), value in np.ndenumerate(differences):
        colour = "white" if abs(value) > 0.6 * SHADES_TO else "black"
        axes.text(column, row, f"{round(value, 1) + 0.0:+.1f}", ha="center", va="center", fontsize=9, color=colour)
    names = [model.specification.spoken(name).text for name in features]
    axes.set_xticks(range(len(features)), names, rotation=35, ha="right", rotation_mode="anchor", fontsize=9)
    axes.set_yticks(
        range(len(segments)),
        [f"{segment.id}  {segment.label} ({shares.get(segment.id, 0.0):.0%})" for segment in segments],
        fontsize=9,
    )
    figure.colorbar(image, ax=axes, label="standard deviations from all", shrink=0.9)
    axes.set_title(f"segments found on {model.as_of_}, shares on {day}", fontsize=11)
    axes.spines[:].set_visible(False)
    return to_png(figure)


def choice_picture(model: SegmentModel) -> bytes:
    """Silhouette and stability of all candidates by the number of segments; the one kept is ringed. PNG."""
    chosen, found = model.chosen_, model.candidates_
    limits = {
        "silhouette": (model.permuted_silhouette_, "on shuffled columns"),
        "stability": (model.specification.parameters.min_stability, "needed"),
    }
    figure = new_figure(10, 4.4)
    for axes, (metric, (limit, name)) in zip(figure.subplots(1, 2), limits.items(), strict=True):
        for algorithm in ALGORITHMS:
            points = [(facts["segments"], facts[metric]) for facts in found if facts["algorithm"] == algorithm]
            axes.plot(*zip(*points, strict=True), "o-", color=COLOURS[algorithm], label=algorithm.replace("_", " "))
        ring = {"markersize": 14, "fillstyle": "none", "color": "black", "linestyle": "none", "label": "kept"}
        axes.plot([chosen["segments"]], [chosen[metric]], marker="o", **ring)
        axes.axhline(limit, linestyle="--", color="#9aa0a8", linewidth=1, zorder=0)
        axes.annotate(name, (1, limit), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
        axes.set_xticks(sorted({facts["segments"] for facts in found}))
        axes.set_ylim(bottom=min(0.0, *(facts[metric] for facts in found)))
        axes.set(xlabel="segments", ylabel=metric)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(f"{model.specification.name}: what was compared on {model.as_of_}")
    return to_png(figure)


def segment_card(model: SegmentModel, measured: Measured, decision: Decision, sha256: str) -> str:
    """Model card in Markdown.

    Args:
        model: The challenger, or the champion where it is kept.
        measured: It on the customers of the day.
        decision: What becomes of it.
        sha256: Of its artefact.
    """
    spec, chosen = model.specification, model.chosen_
    facts = [
        ("Divides", f"customers of one `{spec.time_column}` by {len(model.features_)} features of behaviour"),
        ("Found on", f"{model.rows_:,} customers of {model.as_of_}"),
        ("Algorithm", f"{chosen['algorithm']}, {chosen['segments']} segments"),
        ("Scaled", "percentiles among these customers; unknown is the middle"),
        (
            "Silhouette",
            f"{chosen['silhouette']:.3f}; {model.permuted_silhouette_:.3f} on columns shuffled independently",
        ),
        (
            "Stability",
            f"{chosen['stability']:.3f} [{chosen['lower']:.3f}, {chosen['upper']:.3f}], adjusted Rand index of"
            f" {spec.parameters.stability_draws} bootstrap samples",
        ),
        ("Fidelity of the rules", f"{model.fidelity_:.1%} of customers held out"),
        (
            "Today",
            f"silhouette {measured.silhouette:.3f}, largest PSI {measured.drift:.3f}, far {measured.far_share:.1%}",
        ),
        ("SHA-256", f"`{sha256}`"),
    ]
    lines = [f"# Model card: {spec.name}", "", *([spec.purpose, ""] if spec.purpose else [])]
    lines += markdown_rows(("", ""), facts)
    outcome = "promoted" if decision.promote else "not promoted" if decision.challenged else "champion kept"
    lines += ["", f"## Gate: {outcome}, scores: {decision.scores}", "", *[f"- {reason}" for reason in decision.reasons]]
    lines += ["", "## Segments", ""]
    lines += markdown_rows(
        ("id", "label", "share today", "traits (medians)", "rule"),
        [
            (s.id, s.label, f"{measured.shares[s.id]:.1%}", s.traits, f"`{s.rule}`")
            for s in sorted(model.segments_, key=lambda segment: segment.id)
        ],
    )
    parameters = spec.parameters
    lines += [
        "",
        "A rule is the largest leaf of a decision tree on the features' own units; NULL is the median.",
        "",
        "## What was compared",
        "",
        f"Of those with stability {parameters.min_stability:g} and {parameters.min_share:.0%} of the customers in the"
        f" smallest segment, at least, and a silhouette at most {parameters.silhouette_tolerance:.0%} below the best of"
        " them, the one with the most segments.",
        "",
    ]
    names = ("silhouette", "stability", "lower", "upper", "smallest_share")
    lines += markdown_rows(
        ("algorithm", "segments", *names, ""),
        [
            (f["algorithm"], f["segments"], *(f"{f[name]:.3f}" for name in names), "kept" if f == chosen else "")
            for f in model.candidates_
        ],
    )
    lines += ["", "## Features", ""]
    lines += markdown_rows(
        ("feature", "in words", "PSI today"),
        [(f"`{name}`", spec.spoken(name).text, f"{measured.psi[name]:.3f}") for name in model.features_],
    )
    lines += ["", "## Parameters", ""]
    settings = [(values, name, field) for values in (parameters, spec.refit) for name, field in _fields(values)]
    lines += markdown_rows(
        ("parameter", "value", "why"),
        [(f"`{name}`", getattr(values, name), field.description) for values, name, field in settings],
    )
    if model.notes_:
        lines += ["", "## Notes", "", *[f"- {note}" for note in model.notes_]]
    return "\n".join(lines) + "\n"


def _fields(values: Any) -> list[tuple[str, Any]]:
    return list(type(values).model_fields.items())
