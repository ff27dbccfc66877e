"""BG/NBD and Gamma-Gamma: published figures, an integral, known parameters recovered."""

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import betaln, gammaln

from ml.specification import Scores
from ml.value_baselines import (
    BgNbd,
    GammaGamma,
    NotFittedError,
    bg_nbd,
    fit_bg_nbd,
    fit_gamma_gamma,
    last_period,
)

CDNOW = BgNbd(r=0.243, alpha=4.414, a=0.793, b=2.426)


def one(*values: float) -> list[Scores]:
    return [np.array([value]) for value in values]


def simulate(truth: BgNbd, customers: int, seed: int = 0) -> tuple[Scores, Scores, Scores]:
    """x, t_x and age as the model says they come about."""
    generator = np.random.default_rng(seed)
    rate, death = (
        generator.gamma(truth.r, 1 / truth.alpha, customers),
        generator.beta(truth.a, truth.b, customers),
    )
    age = generator.uniform(30, 60, customers)
    x, t_x = np.zeros(customers), np.zeros(customers)
    for number in range(customers):
        time = 0.0
        while (time := time + generator.exponential(1 / rate[number])) < age[number]:
            x[number], t_x[number] = x[number] + 1, time
            if generator.random() < death[number]:
                break
    return x, t_x, age


def test_expected_purchases_are_the_published_ones() -> None:
    """Fader, Hardie & Lee 2005, CDNOW: a customer with x = 2, t_x = 30.43, T = 38.86, over 39 weeks."""
    assert CDNOW.expected_purchases(39, *one(2, 30.43, 38.86))[0] == pytest.approx(1.226, abs=5e-4)


@pytest.mark.parametrize("a", [0.793, 1.0, 1.7])
@pytest.mark.parametrize("x", [0.0, 3.0, 150.0])
def test_expected_purchases_are_the_integral_over_what_cannot_be_seen(a: float, x: float) -> None:
    """E = P(alive) x mean over rate and death rate of (1 - exp(-rate p t)) / p, by the Gamma's transform and quad."""
    model, t_x, age, time = BgNbd(0.9, 4.4, a, 2.4), 0.0 if x == 0 else 35.0, 40.0, 12.0

    # Given p and being alive, the rate is Gamma(r + x, alpha + age).
    def given(p: float) -> float:
        coming = (1 - (1 + p * time / (model.alpha + age)) ** -(model.r + x)) / p
        weight = (model.a - 1) * np.log(p) + (model.b + x - 1) * np.log1p(-p) - betaln(model.a, model.b)
        return float(coming * np.exp(weight))

    alive = np.exp(gammaln(model.r + x) - gammaln(model.r) + model.r * np.log(model.alpha))
    alive *= (model.alpha + age) ** -(model.r + x)
    likelihood = float(np.exp(model.log_likelihood(*one(x, t_x, age))[0]))
    expected = quad(given, 0, 1, limit=200)[0] * alive / likelihood
    assert model.expected_purchases(time, *one(x, t_x, age))[0] == pytest.approx(expected, rel=1e-4)


def test_known_parameters_are_recovered() -> None:
    truth = BgNbd(r=0.8, alpha=6.0, a=0.8, b=3.0)
    x, t_x, age = simulate(truth, 4000)
    found = fit_bg_nbd(x, t_x, age)
    assert found.r == pytest.approx(truth.r, rel=0.12) and found.alpha == pytest.approx(truth.alpha, rel=0.15)
    assert found.a / (found.a + found.b) == pytest.approx(truth.a / (truth.a + truth.b), rel=0.12)
    assert found.log_likelihood(x, t_x, age).sum() >= truth.log_likelihood(x, t_x, age).sum()

    generator = np.random.default_rng(1)
    value = GammaGamma(p=6.0, q=4.0, v=15.0)
    scale = generator.gamma(value.q, 1 / value.v, 4000)
    count = generator.integers(1, 8, 4000).astype(np.float64)
    mean = generator.gamma(value.p * count, 1 / scale) / count
    money = fit_gamma_gamma(count, mean)
    assert money.q == pytest.approx(value.q, rel=0.1)
    assert money.p * money.v / (money.q - 1) == pytest.approx(value.p * value.v / (value.q - 1), rel=0.05)


def test_expected_value_lies_between_the_own_mean_and_that_of_all() -> None:
    model = GammaGamma(p=6.0, q=4.0, v=15.0)
    usual = model.p * model.v / (model.q - 1)
    few, many = model.expected_value(np.array([1.0, 100.0]), np.array([90.0, 90.0]))
    assert usual < few < many < 90


def make_rows(customers: int = 500) -> pd.DataFrame:
    x, t_x, age = simulate(BgNbd(0.8, 6.0, 0.8, 3.0), customers, seed=2)
    generator = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "count_visits": (x + 1).astype(int),
            "tenure_days": age * 7,
            "recency_days": (age - t_x) * 7,
            "mean_visit_net_sales": generator.gamma(4.0, 5.0, customers),
        }
    )


def test_who_came_once_is_forecast_and_who_is_long_gone_is_worth_less() -> None:
    rows = make_rows()
    assert (rows["count_visits"] == 1).any()
    value = bg_nbd(rows, 84)
    assert np.isfinite(value).all() and (value > 0).all()
    # Of two who came ten times, the one whose last visit is old may have left.
    pair = rows.tail(2).assign(count_visits=10, tenure_days=350.0, recency_days=[7.0, 250.0], mean_visit_net_sales=20.0)
    active, gone = bg_nbd(pd.concat([rows, pair]), 84)[-2:]
    assert active > 5 * gone
    # One purchase a customer makes in weeks is that it makes in days.
    assert (bg_nbd(rows, 168) > value).all()


def test_returns_and_unknown_values_are_worth_little_but_defined() -> None:
    rows = make_rows()
    rows.loc[:50, "mean_visit_net_sales"] = -5.0
    rows.loc[51:100, "mean_visit_net_sales"] = np.nan
    value = bg_nbd(rows, 84)
    assert np.isfinite(value).all() and (value >= 0).all()


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda rows: rows.head(5), "5 customers"),
        (lambda rows: rows.assign(count_visits=1), "0 of them came back"),
        (lambda rows: rows.assign(mean_visit_net_sales=0.0), "0 customers with a value above 0"),
        (lambda rows: rows.assign(recency_days=1e6), "look at the columns"),
        (lambda rows: rows.assign(tenure_days=np.nan), "look at the columns"),
    ],
)
def test_what_cannot_be_fitted_is_said(change: object, words: str) -> None:
    assert callable(change)
    with pytest.raises(NotFittedError, match=words):
        bg_nbd(change(make_rows()), 84)


def test_no_maximum_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BgNbd, "log_likelihood", lambda self, x, t_x, age: np.full(len(x), np.nan))
    with pytest.raises(NotFittedError, match="no maximum of its likelihood"):
        bg_nbd(make_rows(), 84)


def test_the_last_period_is_never_below_zero() -> None:
    rows = pd.DataFrame({"net_sales_84d": [3.0, -2.0, np.nan]})
    assert list(last_period(rows, "net_sales_84d")) == [3.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="no column net_sales_28d"):
        last_period(rows, "net_sales_28d")
