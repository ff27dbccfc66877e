"""Gate 3 for models: a pure rule from measurements on one hold-out to a decision.

Nothing is trained, read or written here.
"""

import math
from typing import Any

from ml.decision import Decision, without_challenger
from ml.evaluation import DRAWS, Interval, Metrics, calibration_noise, measure, paired_difference
from ml.specification import PromotionRule


def decide(
    challenger: Metrics,
    baseline: Metrics,
    over_baseline: Interval | None,
    champion: Metrics | None = None,
    over_champion: Interval | None = None,
    noise: float = 0.0,
    rule: PromotionRule | None = None,
) -> Decision:
    """Whether a challenger beats the baseline and is not worse than the champion, beyond noise, and is calibrated.

    It fails closed: what was not measured, or is not finite, speaks against the challenger.

    Args:
        challenger: Its metrics on the hold-out.
        baseline: The gate baseline's, on the same rows.
        over_baseline: Advantage of the challenger, from `paired_difference`; None where it could not be measured.
        champion: The champion's metrics on the same rows; None where there is no champion.
        over_champion: Advantage of the challenger over it.
        noise: From `evaluation.calibration_noise` on the challenger's scores.
        rule: Limits; the default ones where None.

    Raises:
        ValueError: The metrics are not of the same rows.
    """
    rule = rule or PromotionRule()
    for name, other in (("baseline", baseline), ("champion", champion)):
        if other is not None and (other.rows, other.positives) != (challenger.rows, challenger.positives):
            raise ValueError(
                f"the challenger was tested on {challenger.rows} rows with {challenger.positives} positives,"
                f" the {name} on {other.rows} with {other.positives}; test both on the same hold-out"
            )
    against: list[str] = []
    pro: list[str] = []
    for said, holds in (
        _enough(challenger, rule),
        _better_than_baseline(over_baseline, rule),
        _calibrated(challenger, noise, rule),
        _not_worse_than_champion(champion, over_champion),
    ):
        (pro if holds else against).append(said)
    if not against:
        return Decision(True, tuple(pro), "challenger")
    return without_challenger(*against, has_champion=champion is not None)


def judge(
    label: Any,
    challenger: Any,
    baseline: Any,
    champion: Any | None = None,
    groups: Any | None = None,
    rule: PromotionRule | None = None,
    metric: str = "roc_auc",
    draws: int = DRAWS,
    seed: int = 0,
) -> Decision:
    """`decide`, from the scores on the rows of one hold-out, shape (rows,) each.

    Args:
        label: 0 or 1.
        challenger: Its probabilities.
        baseline: The gate baseline's.
        champion: The champion's, by a model that cannot have seen the rows (`propensity.comparable`); None where there
        is none.
        groups: Who the rows are about; resampled as a whole.
        rule: Limits.
        metric: By which one is better than another.
        draws: Bootstrap samples.
        seed: Of the bootstrap.
    """

    def over(other: Any) -> Interval | None:
        return paired_difference(label, challenger, other, metric, groups, draws, seed)

    return decide(
        measure(label, challenger, draws=0),
        measure(label, baseline, draws=0),
        over(baseline),
        None if champion is None else measure(label, champion, draws=0),
        None if champion is None else over(champion),
        calibration_noise(challenger, seed=seed),
        rule,
    )


def _enough(challenger: Metrics, rule: PromotionRule) -> tuple[str, bool]:
    rarer = min(challenger.positives, challenger.rows - challenger.positives)
    said = f"the hold-out has {challenger.rows} rows, {rarer} of the rarer class"
    holds = challenger.rows >= rule.min_rows and rarer >= rule.min_positives
    return (said if holds else f"{said}; needed are {rule.min_rows} and {rule.min_positives}"), holds


def _better_than_baseline(over_baseline: Interval | None, rule: PromotionRule) -> tuple[str, bool]:
    if over_baseline is None or not over_baseline.is_finite:
        return "the advantage over the baseline could not be measured", False
    holds = over_baseline.lower > rule.min_advantage
    return f"{'better' if holds else 'not better'} than the baseline beyond noise: {over_baseline}", holds


def _calibrated(challenger: Metrics, noise: float, rule: PromotionRule) -> tuple[str, bool]:
    if challenger.ece is None or not math.isfinite(challenger.ece) or not math.isfinite(noise):
        return "the calibration could not be measured", False
    limit = max(rule.max_ece, noise)
    holds = challenger.ece <= limit
    said = f"expected calibration error {challenger.ece:.4f}, allowed is {limit:.4f}"
    return ("calibrated: " if holds else "not calibrated: ") + said, holds


def _not_worse_than_champion(champion: Metrics | None, over_champion: Interval | None) -> tuple[str, bool]:
    if champion is None:
        return "there is no champion to compare with", True
    if over_champion is None or not over_champion.is_finite:
        return "the difference to the champion could not be measured", False
    holds = over_champion.upper >= 0
    return f"{'not worse' if holds else 'worse'} than the champion beyond noise: {over_champion}", holds
