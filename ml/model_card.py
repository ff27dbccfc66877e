"""A model card in Markdown (Mitchell et al. 2019, "Model cards for model reporting"), from what the run knows."""

from collections.abc import Iterable, Mapping, Sequence

from ml.decision import Decision
from ml.evaluation import Metrics
from ml.propensity import PropensityModel
from ml.specification import spoken

COLUMNS = ("roc_auc", "average_precision", "log_loss", "brier", "ece", "lift_10", "capture_10")


def model_card(
    model: PropensityModel,
    metrics: Mapping[str, Metrics],
    tested_on: str,
    decision: Decision | None = None,
    sha256: str = "",
) -> str:
    """The card of a fitted model.

    Args:
        model: Fitted.
        metrics: Of the model and of its baselines on one hold-out, by name; the model's under its score column.
        tested_on: Which hold-out, in words.
        decision: Of gate 3.
        sha256: Of the artefact.
    """
    spec = model.specification
    window = f"{spec.window_days} days" if spec.window_days else f"until the day in `{spec.window_end_column}`"
    lines = [f"# Model card: {spec.name}", ""]
    lines += [spec.purpose, ""] if spec.purpose else []
    facts = [
        ("Predicts", f"`{spec.score}`: probability of `{spec.label}` = 1"),
        ("A row is", ", ".join(f"`{c}`" for c in spec.identity)),
    ]
    if spec.time_column is not None:
        facts.append(("Label window", f"{window}, from `{spec.time_column}` on"))
        facts.append(
            ("Knows", f"what was known on {str(model.as_of_)[:10]}; cut-offs {model.first_time_} to {model.last_time_}")
        )
    if spec.activity_column is not None:
        facts.append(("Eligible", f"`{spec.activity_column}` at most {spec.activity_window_days}"))
    facts.append(("Trained on", f"{model.rows_:,} rows, {model.positives_:,} of them positive"))
    facts.append(("Features", f"{len(model.blend_.preprocessor.features_)}"))
    facts.append(
        ("Calibration", "log odds times {:.3f}, {:+.3f}; fitted on held-out predictions".format(*model.calibration_))
    )
    facts += [("SHA-256", f"`{sha256}`")] if sha256 else []
    lines += markdown_rows(("", ""), facts)

    lines += ["", f"## Measured on {tested_on}", ""]
    rows = []
    for name, measured in metrics.items():
        cells = [name, f"{measured.rows:,}", f"{measured.positives:,}"]
        for column in COLUMNS:
            value, interval = getattr(measured, column), measured.intervals.get(column)
            cell = "" if value is None else f"{value:.4f}"
            cells.append(cell + (f" [{interval.lower:.4f}, {interval.upper:.4f}]" if interval else ""))
        rows.append(cells)
    lines += markdown_rows(("", "rows", "positives", *COLUMNS), rows)
    notes = list(dict.fromkeys(note for measured in metrics.values() for note in measured.notes)) + list(model.notes_)
    if decision is not None:
        lines += ["", f"## Gate: {'promoted' if decision.promote else 'not promoted'}, scores: {decision.scores}", ""]
        lines += [f"- {reason}" for reason in decision.reasons]
    lines += ["", "## What it looks at", ""]
    strongest = list(model.importance_.items())[:15]
    lines += markdown_rows(
        ("feature", "in words", "share"),
        [(f"`{f}`", spoken(spec, f).text.split(": {value}")[0], f"{share:.1%}") for f, share in strongest],
    )
    lines += ["", "## Parameters", ""]
    fields = type(spec.parameters).model_fields
    lines += markdown_rows(
        ("parameter", "value", "why"),
        [(f"`{name}`", getattr(spec.parameters, name), field.description) for name, field in fields.items()],
    )
    if notes:
        lines += ["", "## Notes", "", *[f"- {note}" for note in notes]]
    return "\n".join(lines) + "\n"


def markdown_rows(header: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    """A table in Markdown, line by line."""

    def line(cells: Iterable[object]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return [line(header), line("---" for _ in header), *(line(row) for row in rows)]
