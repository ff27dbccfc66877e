"""What a person sees of a demand forecast: a picture, and a model card in Markdown (Mitchell et al. 2019)."""

import numpy as np
import pandas as pd

from ml.decision import Decision
from ml.forecast import DemandModel
from ml.forecast_evaluation import ForecastBacktest
from ml.model_card import markdown_rows
from ml.plots import OURS, new_figure, to_png


def forecast_plot(title: str, history: pd.DataFrame, forecast: pd.DataFrame, weeks: int = 26) -> bytes:
    """What was sold and what is forecast for one series, with its intervals. PNG.

    Args:
        title: Above the picture.
        history: Columns period_start and net_sales, of one series.
        forecast: Columns period_start, forecast and the bounds of intervals, of the same series. Weeks that are in both
            show the forecast against the actual.
        weeks: Newest weeks of the history to show, beyond those forecast.
    """
    ahead = forecast.sort_values("period_start")
    past = history.sort_values("period_start")
    starts = pd.to_datetime(past["period_start"])
    shown = starts >= pd.to_datetime(ahead["period_start"]).min() - pd.Timedelta(weeks=weeks)
    figure = new_figure(9, 4)
    axes = figure.subplots()
    days, middle = pd.to_datetime(ahead["period_start"]).to_numpy(), ahead["forecast"].to_numpy(dtype=np.float64)
    percents = sorted((int(str(name)[6:]) for name in ahead if str(name).startswith("lower_")), reverse=True)
    for shade, percent in enumerate(percents):
        lower, upper = (ahead[f"{side}_{percent}"].to_numpy(dtype=np.float64) for side in ("lower", "upper"))
        axes.fill_between(
            days, lower, upper, color=OURS, alpha=0.13 + 0.13 * shade, linewidth=0, label=f"{percent} % interval"
        )
    axes.plot(days, middle, "o-", color=OURS, markersize=4, label="forecast")
    axes.plot(
        starts[shown].to_numpy(),
        past.loc[shown, "net_sales"].to_numpy(dtype=np.float64),
        "o-",
        color="#33383f",
        markersize=3,
        linewidth=1.2,
        label="sold",
    )
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set(ylabel="net sales per week", title=title)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, ncols=2 + len(percents), loc="outside lower center")
    return to_png(figure)


def forecast_card(
    model: DemandModel,
    backtest: ForecastBacktest | None = None,
    decision: Decision | None = None,
    sha256: str = "",
) -> str:
    """The model card of a fitted forecast in Markdown (Mitchell et al. 2019).

    Args:
        model: Fitted.
        backtest: Of its specification.
        decision: Of gate 3.
        sha256: Of the artefact.
    """
    spec = model.specification
    lines = [f"# Model card: {spec.name}", ""]
    lines += [spec.purpose, ""]
    facts = [
        ("Predicts", f"weekly net sales, {spec.horizon} weeks ahead, at every level, adding up"),
        ("Knows", f"{model.weeks_} complete weeks, up to {model.as_of_[:10]}"),
        ("Intervals", ", ".join(f"{percent} %" for percent in spec.intervals) + ", split conformal"),
        ("Closed on", ", ".join(model.calendar_.closed) or "no day known"),
    ]
    facts += [("SHA-256", f"`{sha256}`")] if sha256 else []
    lines += markdown_rows(("", ""), facts)
    if backtest is not None:
        rows = backtest.predictions
        lines += [
            "",
            f"## Measured on {rows['origin'].nunique()} rolling origins, {rows['origin'].min().date()} to"
            f" {rows['origin'].max().date()}, 1 to {spec.judged_horizon} weeks ahead",
            "",
        ]
        shown = []
        for level in dict.fromkeys(rows["level"]):
            for name in backtest.names:
                metrics = backtest.metrics(level, name=name)
                if metrics.wape is not None:
                    numbers = (metrics.wape, metrics.mase, metrics.bias)
                    cells = ["" if number is None else f"{number:.4f}" for number in numbers]
                    cover = [f"{metrics.coverage[p]:.1%}" if p in metrics.coverage else "" for p in spec.intervals]
                    shown.append((level, name, metrics.n, *cells, *cover))
        covers = [f"{percent} % covers" for percent in spec.intervals]
        lines += markdown_rows(("level", "", "rows", "WAPE", "MASE", "bias", *covers), shown)
    if decision is not None:
        lines += ["", f"## Gate: {'promoted' if decision.promote else 'not promoted'}, scores: {decision.scores}", ""]
        lines += [f"- {reason}" for reason in decision.reasons]
    lines += ["", "## Who won the contest", ""]
    candidates = [
        (level, " + ".join(names), ", ".join(f"{name} {wape:.4f}" for name, wape in model.contest_[level].items()))
        for level, names in model.winners_.items()
    ]
    lines += markdown_rows(("level", "winner", f"WAPE at the newest {spec.contest_origins} origins"), candidates)
    lines += ["", "## Parameters", ""]
    fields = type(spec.parameters).model_fields
    lines += markdown_rows(
        ("parameter", "value", "why"),
        [(f"`{name}`", getattr(spec.parameters, name), field.description) for name, field in fields.items()],
    )
    if model.notes_:
        lines += ["", "## Notes", "", *[f"- {note}" for note in model.notes_]]
    return "\n".join(lines) + "\n"
