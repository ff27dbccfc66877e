"""Pictures as PNG bytes: calibration and lift, importance, moves between labels, what is bought together, drift, decay.

matplotlib is imported when one is drawn.
"""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ml.evaluation import Metrics
from ml.specification import Specification, spoken

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

OURS, THEIRS = "#1f5fa8", "#8a8f98"
DOTS_PER_INCH = 110


def to_png(figure: "Figure") -> bytes:
    """The picture as PNG; the same picture gives the same bytes."""
    buffer = io.BytesIO()
    # Without the writer's version and date, the same picture is the same bytes.
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, sides in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def calibration_and_lift(
    title: str, model: Metrics, baseline: Metrics | None = None, baseline_name: str = "baseline"
) -> bytes:
    """Predicted against happened, and lift, both by tenths of the score. PNG."""
    figure = new_figure(10, 4.2)
    left, right = figure.subplots(1, 2)
    shown = [(model, OURS, "model")] + ([(baseline, THEIRS, baseline_name)] if baseline is not None else [])
    for metrics, colour, name in shown:
        tenths = metrics.deciles
        left.plot([d.mean_score for d in tenths], [d.rate for d in tenths], "o-", color=colour, label=name)
        right.plot([d.decile for d in tenths], [d.lift or 0.0 for d in tenths], "o-", color=colour, label=name)
    top = max((max(d.mean_score, d.rate) for d in model.deciles), default=1.0) * 1.1 or 1.0
    left.plot([0, top], [0, top], "--", color="#c0c4ca", linewidth=1, zorder=0)
    left.set(xlabel="predicted probability (mean of a tenth)", ylabel="happened (rate)", title="calibration")
    right.axhline(1, linestyle="--", color="#c0c4ca", linewidth=1, zorder=0)
    right.set(xlabel="tenth of the rows, highest scores first", ylabel="times the base rate", title="lift by decile")
    right.set_xticks(range(1, 11))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.suptitle(title)
    return to_png(figure)


def importance(title: str, specification: Specification, shares: Mapping[str, float], top: int = 20) -> bytes:
    """Share of the features in the contributions to the score, the strongest on top. PNG."""
    strongest = sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:top]
    names = [spoken(specification, feature).text.split(": {value}")[0] for feature, _ in strongest]
    figure = new_figure(9, 1.2 + 0.28 * max(len(strongest), 1))
    axes = figure.subplots()
    # By position, not by name: two features may be spoken of alike.
    axes.barh(range(len(names)), [share for _, share in strongest], color=OURS)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlabel="share in the contributions to the score", title=title)
    axes.spines[["top", "right"]].set_visible(False)
    return to_png(figure)


def transitions(title: str, moves: Mapping[str, "pd.DataFrame"]) -> bytes:
    """A heat map per classification: of the customers with a label (row), the share that has each label now. PNG.

    Args:
        title: Of the picture.
        moves: By classification the columns `from_label`, `to_label` and `customers`.
    """
    height = 1 + max(2.6, 0.42 * max(part["from_label"].nunique() for part in moves.values()))
    figure = new_figure(15, height * ((len(moves) + 1) // 2))
    grid = figure.subplots((len(moves) + 1) // 2, 2, squeeze=False).ravel()
    for axes in grid[len(moves) :]:
        axes.set_visible(False)
    for axes, (classification, part) in zip(grid, moves.items(), strict=False):
        counts = part.pivot_table(
            index="from_label", columns="to_label", values="customers", aggfunc="sum", fill_value=0
        )
        labels = sorted({*counts.index, *counts.columns}, key=str)
        counts = counts.reindex(index=labels, columns=labels, fill_value=0)
        totals = counts.sum(axis=1)
        shares = counts.div(totals.where(totals > 0, 1), axis=0).to_numpy(dtype=float)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for row, column in zip(*shares.nonzero(), strict=True):
            colour = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, f"{shares[row, column]:.0%}", ha="center", va="center", fontsize=8, color=colour)
        stayed = float(sum(counts.loc[label, label] for label in labels)) / float(totals.sum())
        axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right", fontsize=8)
        axes.set_yticks(range(len(labels)), [f"{label} ({total:,})" for label, total in totals.items()], fontsize=8)
        axes.set_title(f"{classification}: {1 - stayed:.1%} of {totals.sum():,} customers changed", fontsize=10)
    figure.suptitle(title)
    return to_png(figure)


def rule_network(title: str, rules: "pd.DataFrame") -> bytes:
    """Items as points, as large as their support, and an arrow from antecedent to consequent, as wide as the lift. PNG.

    Args:
        title: Of the picture.
        rules: One row per rule of two items, columns `antecedent`, `consequent` (paths, parts between slashes), `lift`,
            `antecedent_support` and `consequent_support`.
    """
    import networkx as nx

    graph = nx.DiGraph()
    for rule in rules.itertuples():
        graph.add_node(rule.antecedent, support=rule.antecedent_support)
        graph.add_node(rule.consequent, support=rule.consequent_support)
        graph.add_edge(rule.antecedent, rule.consequent, lift=rule.lift)
    figure = new_figure(14, 10)
    axes = figure.subplots()
    # By energy, groups that no rule connects stay side by side.
    positions = nx.spring_layout(graph, k=1.2, iterations=300, seed=0, method="energy")
    supports = [graph.nodes[item]["support"] for item in graph]
    largest, strongest = max(supports), max(rules["lift"])
    nx.draw_networkx_nodes(
        graph,
        positions,
        ax=axes,
        node_size=[80 + 900 * support / largest for support in supports],
        node_color="#9ecae1",
    )
    nx.draw_networkx_edges(
        graph,
        positions,
        ax=axes,
        width=[0.5 + 3 * lift / strongest for *_, lift in graph.edges(data="lift")],
        edge_color="#6b6b6b",
        connectionstyle="arc3,rad=0.08",
    )
    names = {item: str(item).rsplit(" / ", maxsplit=1)[-1].title() for item in graph}
    nx.draw_networkx_labels(graph, positions, labels=names, ax=axes, font_size=7)
    axes.set_axis_off()
    figure.suptitle(title)
    return to_png(figure)


def drifts(title: str, found: "pd.DataFrame", top: int = 8) -> bytes:
    """The strongest drifts of each model as bars, beside the limits. PNG.

    Args:
        title: Of the picture.
        found: `model`, `kind`, `metric`, `value`, `warn_limit` and `block_limit`, the largest values first.
        top: Bars of a model.
    """
    parts = {str(model): part.head(top) for model, part in found.groupby("model", sort=True)}
    figure = new_figure(10, 1 + sum(0.6 + 0.26 * len(part) for part in parts.values()))
    grid = figure.subplots(len(parts), 1, squeeze=False, height_ratios=[1 + len(part) for part in parts.values()])
    for axes, (model, part) in zip(grid.ravel(), parts.items(), strict=True):
        is_beyond = (part["value"] > part["warn_limit"]).tolist()
        places = range(len(part))
        axes.barh(places, part["value"], color=["#b3402a" if beyond else OURS for beyond in is_beyond])
        names = [
            f"{metric} (scores)" if kind == "score_drift" else metric
            for kind, metric in zip(part["kind"], part["metric"], strict=True)
        ]
        axes.set_yticks(places, names, fontsize=8)
        axes.invert_yaxis()
        axes.axvline(float(part["warn_limit"].iloc[0]), linestyle="--", color=THEIRS, linewidth=1)
        axes.set_xlim(0, max(1.15 * float(part["warn_limit"].iloc[0]), 1.05 * float(part["value"].max())))
        axes.set_title(model, fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    return to_png(figure)


def skill_over_time(title: str, matured: "pd.DataFrame") -> bytes:
    """Skill of the scores of each day, what the hold-out had shown, and the limits. PNG.

    Args:
        title: Of the picture.
        matured: `model`, `metric`, `compared_with` (the day of the scores), `value`, `expected`, `warn_limit` and
            `block_limit`, in the order of the days.
    """
    parts = list(matured.groupby(["model", "metric"], sort=True))
    figure = new_figure(10, 0.8 + 2.3 * len(parts))
    grid = figure.subplots(len(parts), 1, squeeze=False).ravel()
    for axes, ((model, metric), part) in zip(grid, parts, strict=True):
        days = part["compared_with"]
        axes.plot(days, part["value"], "o-", color=OURS, label="what came")
        axes.plot(days, part["expected"], "--", color=THEIRS, label="hold-out")
        axes.plot(days, part["warn_limit"], ":", color="#b3402a", label="warns")
        axes.set_title(f"{model}: {metric}", fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle(title)
    return to_png(figure)
