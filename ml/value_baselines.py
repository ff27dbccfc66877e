"""What predicted customer value must beat: the last period as it was, and BG/NBD with Gamma-Gamma.

Both need no labels. BG/NBD (Fader, Hardie & Lee 2005, "Counting your customers the easy way", Marketing Science 24(2))
says how many purchases are to come, Gamma-Gamma (Fader & Hardie 2013, "The Gamma-Gamma model of monetary value") what
one is worth. Written out on scipy: the libraries that have them are no longer maintained, or need a compiler.
"""

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit, gammaln, hyp2f1

from ml.specification import Scores, require_columns

DAYS_PER_WEEK = 7
# Parameters beyond are those of a shop that the model does not describe; what it expects is the same up to rounding.
SMALLEST, LARGEST = 1e-4, 1e4
MIN_CUSTOMERS = 10


class NotFittedError(ValueError):
    """The likelihood has no maximum that could be found, or there is too little to fit it to."""


@dataclass(frozen=True)
class BgNbd:
    """Purchases while alive are Poisson with a rate from Gamma(r, alpha); after each one dies, from Beta(a, b).

    `alpha` is in the unit of the times.
    """

    r: float
    alpha: float
    a: float
    b: float

    def log_likelihood(self, x: Scores, t_x: Scores, age: Scores) -> Scores:
        """Of each customer, shape (customers,): eq. 6 of the paper, in logarithms.

        Args:
            x: Purchases after the first, shape (customers,).
            t_x: Time of the last of them, counted from the first purchase; 0 where x is 0.
            age: Time since the first purchase (T of the paper).
        """
        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        purchases = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
        survivals = gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x)
        alive = -(r + x) * np.log(alpha + age)
        repeated = np.maximum(x, 1)
        dead = np.log(a) - np.log(b + repeated - 1) - (r + repeated) * np.log(alpha + t_x)
        return np.asarray(purchases + survivals + np.where(x > 0, np.logaddexp(alive, dead), alive))

    def expected_purchases(self, time: float, x: Scores, t_x: Scores, age: Scores) -> Scores:
        """Purchases in the coming `time`, given the past ones, shape (customers,): eq. 10 of the paper.

        By Euler's transformation (1 - z)^(r + x) 2F1(r + x, b + x; a + b + x - 1; z) is
        (1 - z)^(a - 1) 2F1(a + b - 1 - r, a - 1; a + b + x - 1; z), which does not overflow where x is large.
        """
        r, alpha, b = self.r, self.alpha, self.b
        a = self.a if abs(self.a - 1) > 1e-6 else 1 + 1e-6  # at 1 the formula is 0 / 0; its limit is there
        z = time / (alpha + age + time)
        rest = (1 - z) ** (a - 1) * hyp2f1(a + b - 1 - r, a - 1, a + b + x - 1, z)
        repeated = np.maximum(x, 1)
        odds_dead = np.log(a) - np.log(b + repeated - 1) + (r + repeated) * np.log((alpha + age) / (alpha + t_x))
        alive = np.where(x > 0, expit(-odds_dead), 1.0)
        return np.asarray((a + b + x - 1) / (a - 1) * (1 - rest) * alive, dtype=np.float64)


@dataclass(frozen=True)
class GammaGamma:
    """The value of a purchase is Gamma(p, nu) with nu from Gamma(q, v); q is above 1, so that the mean exists."""

    p: float
    q: float
    v: float

    def log_likelihood(self, count: Scores, mean: Scores) -> Scores:
        """Of each customer, shape (customers,): eq. 1a of the note.

        Args:
            count: Purchases, shape (customers,), above 0.
            mean: Their mean value, above 0.
        """
        shape, (p, q, v) = self.p * count, (self.p, self.q, self.v)
        fixed = gammaln(shape + q) - gammaln(shape) - gammaln(q) + q * np.log(v) + shape * np.log(count)
        return np.asarray(fixed + (p * count - 1) * np.log(mean) - (shape + q) * np.log(v + count * mean))

    def expected_value(self, count: Scores, mean: Scores) -> Scores:
        """Expected value of a purchase, shape (customers,): eq. 5 of the note."""
        return np.asarray(self.p * (self.v + count * mean) / (self.p * count + self.q - 1), dtype=np.float64)


def _maximise(log_likelihood: Callable[..., Scores], starts: Sequence[tuple[float, ...]], what: str) -> Scores:
    """The parameters with the largest mean log likelihood, all between SMALLEST and LARGEST."""

    def loss(logarithms: Scores) -> float:
        mean = float(log_likelihood(*np.exp(logarithms)).mean())
        return -mean if np.isfinite(mean) else 1e10

    bounds = [(np.log(SMALLEST), np.log(LARGEST))] * len(starts[0])
    found = [
        minimize(loss, np.clip(np.log(start), *bounds[0]), method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12})
        for start in starts
    ]
    found = [result for result in found if result.success and np.isfinite(result.fun) and result.fun < 1e10]
    if not found:
        raise NotFittedError(f"{what} has no maximum of its likelihood that could be found")
    return np.exp(np.asarray(min(found, key=lambda result: float(result.fun)).x, dtype=np.float64))


def fit_bg_nbd(x: Scores, t_x: Scores, age: Scores) -> BgNbd:
    """BG/NBD by maximum likelihood; arguments as for `BgNbd.log_likelihood`.

    Raises:
        NotFittedError: Too few customers, times that cannot be, nobody came back, or no maximum was found.
    """
    if len(x) < MIN_CUSTOMERS or not (x > 0).any():
        raise NotFittedError(
            f"BG/NBD: {len(x)} customers, {int((x > 0).sum())} of them came back;"
            f" needed are {MIN_CUSTOMERS}, and one who came back"
        )
    if not (np.isfinite(x) & np.isfinite(t_x) & np.isfinite(age) & (x >= 0) & (t_x >= 0) & (t_x <= age)).all():
        raise NotFittedError(
            "BG/NBD: expected are counts from 0 on and a last purchase between the first and today; look at the"
            " columns of visits, tenure and recency"
        )
    usual = max(float(age.mean()), 1e-6)
    starts = [(0.5, usual / 2, 0.5, 2.0), (1.0, usual, 0.1, 10.0)]
    return BgNbd(*map(float, _maximise(lambda *p: BgNbd(*p).log_likelihood(x, t_x, age), starts, "BG/NBD")))


def fit_gamma_gamma(count: Scores, mean: Scores) -> GammaGamma:
    """Gamma-Gamma by maximum likelihood, on customers whose mean value is above 0.

    Args:
        count: Purchases, shape (customers,).
        mean: Their mean value.

    Raises:
        NotFittedError: Too few customers with a value above 0, or no maximum was found.
    """
    valued = np.isfinite(mean) & (mean > 0) & (count > 0)
    if valued.sum() < MIN_CUSTOMERS:
        raise NotFittedError(
            f"Gamma-Gamma: {int(valued.sum())} customers with a value above 0, needed are {MIN_CUSTOMERS}"
        )
    n, level = count[valued], float(mean[valued].mean())
    z = mean[valued] / level  # in units of the mean, so that v is of the size of the others

    def made(p: float, over: float, v: float) -> GammaGamma:
        return GammaGamma(float(p), float(1 + over), float(v))

    starts = [(1.0, 2.0, 2.0), (5.0, 3.0, 0.5)]
    p, q, v = astuple(made(*_maximise(lambda *p: made(*p).log_likelihood(n, z), starts, "Gamma-Gamma")))
    return GammaGamma(p, q, v * level)


def last_period(rows: pd.DataFrame, column: str) -> Scores:
    """The net sales of the last window once more, never below 0, NULL is 0; shape (rows,).

    Args:
        rows: Customers on their cut-off.
        column: Net sales of a window of the same length before the cut-off.
    """
    require_columns(rows, [column], "last_period")
    return np.maximum(np.nan_to_num(_floats(rows, column)), 0.0)


def bg_nbd(
    rows: pd.DataFrame,
    window_days: int,
    visits: str = "count_visits",
    tenure: str = "tenure_days",
    recency: str = "recency_days",
    visit_value: str = "mean_visit_net_sales",
) -> Scores:
    """Expected visits in the window x expected value of one, fitted on these rows; shape (rows,).

    Args:
        rows: All customers of one cut-off; no label is read.
        window_days: Days ahead.
        visits: Column with the visits so far, the first included.
        tenure: Days since the first visit.
        recency: Days since the last one.
        visit_value: Net sales per visit.

    Raises:
        NotFittedError: It cannot be fitted; or it can, and what it expects is not finite.
        ValueError: A column is missing.
    """
    require_columns(rows, [visits, tenure, recency, visit_value], "bg_nbd")
    count, age = _floats(rows, visits), _floats(rows, tenure) / DAYS_PER_WEEK
    x = count - 1
    t_x = np.where(x > 0, age - _floats(rows, recency) / DAYS_PER_WEEK, 0.0)
    mean = np.maximum(np.nan_to_num(_floats(rows, visit_value)), 0.0)
    purchases = fit_bg_nbd(x, t_x, age).expected_purchases(window_days / DAYS_PER_WEEK, x, t_x, age)
    value = purchases * fit_gamma_gamma(count, mean).expected_value(count, mean)
    if not np.isfinite(value).all():
        raise NotFittedError(f"BG/NBD expects something infinite of {int((~np.isfinite(value)).sum())} customers")
    return np.maximum(value, 0.0)


def _floats(rows: pd.DataFrame, column: str) -> npt.NDArray[np.float64]:
    return rows[column].to_numpy(dtype=np.float64, na_value=np.nan)
