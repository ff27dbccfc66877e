"""What came of a day's training, in plain terms. Imports nothing heavy, so that a skipped model costs nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

CHALLENGER, CHAMPION, HOLD_OUT = "challenger", "champion", "hold_out"
PERFORMANCE_COLUMNS = ("name", "role", "split", "split_start", "split_end", "metric", "value", "lower", "upper")


@dataclass(frozen=True)
class Decision:
    """What becomes of a challenger.

    Attributes:
        promote: It becomes the champion.
        reasons: Why, a sentence each: all that speaks against it, or what speaks for it.
        scores: Who scores from now on; nobody where a challenger failed that had no champion before it: NULL scores.
        challenged: Whether there was a challenger, or should have been; False where the champion is kept on purpose,
            or there is nothing to learn from.
    """

    promote: bool
    reasons: tuple[str, ...]
    scores: Literal["challenger", "champion", "nobody"]
    challenged: bool = True


def champion_kept(*reasons: str) -> Decision:
    """The decision where nothing asks for a challenger."""
    return Decision(False, (*reasons, "the champion is kept"), "champion", challenged=False)


def nothing_to_learn_from(*reasons: str) -> Decision:
    """The decision where the business has no such data: nobody scores, and nothing is wrong."""
    return Decision(False, reasons, "nobody", challenged=False)


def without_challenger(*against: str, has_champion: bool) -> Decision:
    """The decision where a challenger failed, or none could be fitted: the champion stays, if there is one."""
    if has_champion:
        return Decision(False, (*against, "the champion stays"), "champion")
    return Decision(False, (*against, "there is no champion either: nothing is scored"), "nobody")


@dataclass(frozen=True)
class Challenge:
    """What came of a day's training.

    Attributes:
        decision: Who scores from now on, and why.
        artefact: The challenger as the bytes of its file; None where nothing could be fitted.
        performance: One row per model, split and metric, columns PERFORMANCE_COLUMNS; `name` is challenger, champion or
            the baseline's.
        parameters: As a registry takes them.
        pictures: PNG by name.
        card: Model card, Markdown.
    """

    decision: Decision
    artefact: bytes | None = None
    performance: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(PERFORMANCE_COLUMNS)))
    parameters: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    card: str = ""
