"""Who will be a key account: the rule of the list, the odds, and their metrics."""

import numpy as np
import pytest

from ml.key_accounts import KeyAccountOdds, key_account_metrics, list_precision, list_threshold


@pytest.mark.parametrize(
    "values, share, expected",
    [
        ([120, 100, 50, 50, 30, 0, -20], 0.65, 50),  # 220 of 350 are not enough, and equal values go together
        ([120, 100, 50, 50, 30, 0, -20], 0.3, 120),
        ([5, 5, 5], 0.01, 5),
        ([1], 0.99, 1),
        ([0, -1, np.nan], 0.5, np.inf),
        ([], 0.5, np.inf),
    ],
)
def test_the_list_is_the_fewest_who_carry_the_share(values: list[float], share: float, expected: float) -> None:
    assert list_threshold(values, share) == expected


def made(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions of three days, each at a level of its own, and who then was on the list."""
    generator = np.random.default_rng(seed)
    day = np.repeat([0, 1, 2], 500)
    predicted = generator.gamma(1.0, 100.0, 1500)
    actual = predicted * generator.lognormal(0, 0.5, 1500)
    becomes = np.concatenate([actual[day == d] >= list_threshold(actual[day == d], 0.33) for d in range(3)])
    return predicted * np.array([1.0, 10.0, 0.1])[day], becomes, day


def test_odds_rise_with_the_prediction_and_are_about_even_where_the_list_begins() -> None:
    predicted, becomes, day = made()
    odds = KeyAccountOdds.fit(predicted, becomes, day, predicted[day == 0], 0.33)
    assert odds is not None
    probabilities = odds(np.array([0.0, odds.threshold / 4, odds.threshold, odds.threshold * 4]))
    assert (np.diff(probabilities) > 0).all()
    assert probabilities[0] < 0.01 and 0.2 < probabilities[2] < 0.8 and probabilities[3] > 0.95
    # A day at another level has the same odds at the same place in its list.
    other = KeyAccountOdds.fit(predicted, becomes, day, predicted[day == 1], 0.33)
    assert other is not None and (other.slope, other.intercept) == (odds.slope, odds.intercept)
    # Probabilities of another draw are right on the whole.
    again, came, days = made(seed=1)
    assert odds(again[days == 0]).mean() == pytest.approx(came[days == 0].mean(), rel=0.25)
    assert KeyAccountOdds(**odds.to_json())(predicted) == pytest.approx(odds(predicted), abs=0)


def test_too_few_on_the_list_or_nothing_predicted_gives_no_odds() -> None:
    predicted, becomes, day = made()
    few = becomes & (becomes.cumsum() <= 19)
    assert KeyAccountOdds.fit(predicted, few, day, predicted, 0.33) is None
    assert KeyAccountOdds.fit(predicted, ~few, day, predicted, 0.33) is None
    assert KeyAccountOdds.fit(predicted, becomes, day, np.zeros(5), 0.33) is None
    assert KeyAccountOdds.fit(np.zeros(1500), becomes, day, predicted, 0.33) is None


def test_precision_is_that_of_lists_as_long_as_there_are_key_accounts() -> None:
    becomes, day = [1, 1, 0, 0, 1, 0], [1, 1, 1, 1, 2, 2]
    assert list_precision(becomes, [9, 1, 8, 0, 5, 6], day) == pytest.approx(1 / 3)  # one of two, none of one
    assert list_precision(becomes, [9, 8, 1, 0, 6, 5], day) == 1
    assert np.isnan(list_precision([0, 0], [1, 2], [1, 1]))


def test_metrics_stand_beside_the_baselines_for_all_and_for_newcomers() -> None:
    predicted, becomes, day = made()
    odds = KeyAccountOdds.fit(predicted, becomes, day, predicted[day == 0], 0.33)
    assert odds is not None
    here = day == 0
    noise = np.random.default_rng(2).random(here.sum())
    was = predicted[here] > np.quantile(predicted[here], 0.95)
    scores = {"challenger": odds(predicted[here]), "last_period": 100 * noise}
    found = {
        (name, metric): value
        for name, metric, value, *_ in key_account_metrics(
            becomes[here], scores, was, day[here], np.arange(here.sum()), draws=50
        )
    }
    assert found["challenger", "key_account_roc_auc"] > 0.9
    assert found["last_period", "key_account_roc_auc"] == pytest.approx(0.5, abs=0.1)
    assert found["challenger", "new_key_account_roc_auc"] < found["challenger", "key_account_roc_auc"]
    assert found["challenger", "key_account_list_precision"] > found["last_period", "key_account_list_precision"]
    assert ("challenger", "key_account_ece") in found and ("last_period", "key_account_ece") not in found
