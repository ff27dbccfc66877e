"""What recommending is, said once: what is left out, list lengths, windows, parameters, limits; and which days teach.

No learning here.
"""

from typing import Annotated

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from ml.specification import Moment


class RecommendationParameters(BaseModel):
    """Hyper-parameters, each with its range and its reason."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    own_candidates: Annotated[int, Field(ge=10, le=5000)] = Field(
        default=80,
        description="Products bought before that are ranked for a customer, those bought most lately; of what is beyond"
        " hardly any is among the ten that are bought.",
    )
    new_candidates: Annotated[int, Field(ge=10, le=5000)] = Field(
        default=20, description="Products never bought that each source may put forward for a customer."
    )
    neighbours: Annotated[int, Field(ge=2, le=500)] = Field(
        default=30, description="Products that a product is similar to, kept per product."
    )
    min_buyers: Annotated[int, Field(ge=1)] = Field(
        default=4, description="Customers who bought a product without whom nothing is said of its neighbours."
    )
    basket_days: Annotated[int, Field(ge=1)] = Field(
        default=112, description="Baskets of so many days tell which products are bought together."
    )
    factors: Annotated[int, Field(ge=2, le=512)] = Field(default=32, description="Of the matrix factorisation.")
    factor_rounds: Annotated[int, Field(ge=1, le=100)] = Field(default=6, description="Alternations of it.")
    factor_l2: Annotated[float, Field(ge=0)] = Field(default=20.0, description="Shrinks the factors towards zero.")
    factor_confidence: Annotated[float, Field(gt=0)] = Field(
        default=10.0, description="Weight of a purchase against none (alpha; Hu, Koren & Volinsky 2008)."
    )
    teaching_cut_offs: Annotated[int, Field(ge=1, le=52)] = Field(
        default=4, description="Cut-offs that teach the ranker, the newest whose windows have closed."
    )
    teaching_customers: Annotated[int, Field(ge=10)] = Field(
        default=1500, description="Customers drawn per cut-off to teach. Bounds memory and time."
    )
    rounds: Annotated[int, Field(ge=1, le=5000)] = Field(default=250, description="Trees of the ranker.")
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(default=0.05, description="Step per tree.")
    num_leaves: Annotated[int, Field(ge=2, le=256)] = Field(default=31, description="Leaves per tree.")
    min_rows_in_leaf: Annotated[int, Field(ge=1)] = Field(default=100, description="Rows per leaf.")
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.3, description="Share of the features that a tree may use; low, as they resemble each other."
    )
    l2: Annotated[float, Field(ge=0)] = Field(default=10.0, description="Shrinks the leaves towards zero.")
    max_bin: Annotated[int, Field(ge=2, le=255)] = Field(default=127, description="Bins per feature.")


class RecommendationSpecification(BaseModel):
    """What is recommended to whom, how it is learned and judged."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(default="recommendations", description="Name of the model, as in the registry.")
    window_days: int = Field(default=28, ge=1, le=365, description="A recommendation is right if bought within these.")
    list_length: int = Field(default=10, ge=1, le=50, description="Products per list and customer at most.")
    max_per_category: int | None = Field(
        default=3,
        ge=1,
        description="Products of one category in a list at most; None for no limit. What has no category has no limit.",
    )
    sold_within_days: int = Field(
        default=84, ge=1, description="A product that nobody bought in so many days is not sold any more."
    )
    excluded_departments: tuple[str, ...] = Field(
        default=("FUEL", "MISCELLANEOUS", "COUPON"), description="Never recommended, whole."
    )
    excluded_categories: tuple[str, ...] = Field(default=(), description="Never recommended, whole.")
    excluded_products: tuple[str, ...] = Field(default=("unknown",), description="Never recommended.")
    min_visits: int = Field(
        default=2, ge=1, description="Customers with fewer get what is popular, not what the ranker says."
    )
    min_history_days: int = Field(default=28, ge=1, description="Cut-offs with less history than this do not teach.")
    held_out_cut_offs: int = Field(default=4, ge=1, description="Windows held out, one after another, to judge by.")
    judged_customers: int = Field(
        default=1500, ge=10, description="Customers drawn per held-out cut-off. Bounds the time that judging takes."
    )
    min_judged: int = Field(
        default=100,
        ge=1,
        description="Customers with a purchase in the held-out windows without whom nothing is known.",
    )
    purpose: str = Field(
        default="What a customer will probably buy in the coming weeks: what is due again, and what would be new to"
        " them. It tells what they would buy, not what they buy because of it.",
        description="What it is for, and what not; for the model card.",
    )
    parameters: RecommendationParameters = Field(default_factory=lambda: RecommendationParameters())
    seed: int = Field(default=360, ge=0, description="Everything that is drawn at random is drawn from this.")


def closed_cut_offs(specification: RecommendationSpecification, first: Moment, day: Moment) -> list[pd.Timestamp]:
    """Cut-offs whose windows had closed by `day` and do not overlap, newest first, with enough history before each.

    Args:
        specification: With the window and the least history.
        first: Day of the first purchase.
        day: Nothing from this day on has been seen.
    """
    window = pd.Timedelta(days=specification.window_days)
    earliest = pd.Timestamp(first) + pd.Timedelta(days=specification.min_history_days)
    times, time = [], pd.Timestamp(day) - window
    while time >= earliest:
        times.append(time)
        time -= window
    return times
