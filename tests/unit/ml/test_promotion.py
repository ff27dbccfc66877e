"""Gate 3: the truth table of the rule, and that it fails closed."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from ml.evaluation import Interval, Metrics, measure
from ml.promotion import decide, judge
from ml.specification import PromotionRule

BETTER, EVEN, WORSE = Interval(0.02, 0.01, 0.03), Interval(0.0, -0.01, 0.01), Interval(-0.02, -0.03, -0.01)


def metrics(ece: float | None = 0.01, rows: int = 1000, positives: int = 100) -> Metrics:
    label = np.arange(rows) < positives
    return replace(measure(label, np.where(label, 0.6, 0.1), draws=0), ece=ece)


@pytest.mark.parametrize(
    ("baseline", "ece", "champion"),
    itertools.product([BETTER, EVEN, WORSE], [0.01, 0.05], [None, BETTER, EVEN, WORSE]),
)
def test_truth_table(baseline: Interval, ece: float, champion: Interval | None) -> None:
    decision = decide(metrics(ece), metrics(), baseline, None if champion is None else metrics(), champion)
    assert decision.promote == (baseline is BETTER and ece == 0.01 and champion is not WORSE)
    expected = "challenger" if decision.promote else "nobody" if champion is None else "champion"
    assert decision.scores == expected
    assert decision.reasons
    if not decision.promote:
        end = "there is no champion either: nothing is scored" if champion is None else "the champion stays"
        assert decision.reasons[-1] == end


@pytest.mark.parametrize("broken", [None, Interval(math.nan, 0.1, 0.2), Interval(0.1, math.inf, math.inf)])
def test_what_was_not_measured_speaks_against(broken: Interval | None) -> None:
    assert not decide(metrics(), metrics(), broken).promote
    assert not decide(metrics(), metrics(), BETTER, metrics(), broken).promote
    for ece in (None, math.nan):
        assert "calibration could not be measured" in decide(metrics(ece), metrics(), BETTER).reasons[0]
    assert not decide(metrics(), metrics(), BETTER, noise=math.nan).promote


def test_too_small_a_hold_out_says_what_is_needed() -> None:
    small = metrics(rows=150, positives=10)
    decision = decide(small, small, BETTER)
    assert decision.reasons[0] == "the hold-out has 150 rows, 10 of the rarer class; needed are 200 and 20"
    assert decide(small, small, BETTER, rule=PromotionRule(min_rows=100, min_positives=5)).promote


def test_calibration_is_not_asked_for_beyond_chance() -> None:
    assert not decide(metrics(0.04), metrics(), BETTER).promote
    assert decide(metrics(0.04), metrics(), BETTER, noise=0.045).promote
    assert not decide(metrics(0.05), metrics(), BETTER, noise=0.045).promote


def test_different_hold_outs_are_refused() -> None:
    with pytest.raises(ValueError, match="same hold-out"):
        decide(metrics(), metrics(rows=900), BETTER)
    with pytest.raises(ValueError, match="the champion on 1000 with 90"):
        decide(metrics(), metrics(), BETTER, metrics(positives=90), EVEN)


def test_judged_from_scores() -> None:
    generator = np.random.default_rng(0)
    log_odds = generator.normal(-2, 1.5, 4000)
    y = (generator.random(4000) < expit(log_odds)).astype(int)
    good, blurred, rate = expit(log_odds), expit(log_odds + generator.normal(0, 1, 4000)), np.full(4000, y.mean())
    assert judge(y, good, rate, draws=200).scores == "challenger"
    assert judge(y, good, rate, blurred, draws=200).promote
    assert judge(y, good, rate, good, draws=200).promote
    # Worse than the champion, and not calibrated either.
    decision = judge(y, blurred, rate, good, draws=200)
    assert decision.scores == "champion"
    assert "worse than the champion beyond noise" in " ".join(decision.reasons)
    assert judge(y, expit(log_odds * 3), rate, draws=200).reasons[0].startswith("not calibrated")
    assert judge(y, rate, rate, draws=200).scores == "nobody"
    one_class = judge(np.zeros(500), good[:500], rate[:500])
    assert "0 of the rarer class" in one_class.reasons[0]
    assert not judge([], [], []).promote
