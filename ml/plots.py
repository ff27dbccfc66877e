"""Pictures as PNG bytes: calibration beside lift by decile, importance, and how customers move between labels.

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
