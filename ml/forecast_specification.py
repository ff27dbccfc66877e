"""What a demand forecast is, said once: how far, who competes, how the winner is found, and with which parameters."""

from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ml.forecast_calendar import US_RETAIL, Holiday
from ml.forecast_history import LEVELS

Member = Literal[
    "naive",
    "window_average",
    "auto_ets",
    "auto_theta",
    "seasonal_naive",
    "calendar_level",
    "seasonal_level",
    "lightgbm",
]
MEMBERS: tuple[Member, ...] = get_args(Member)
BASELINES = ("naive", "window_average", "auto_ets", "auto_theta")


class ForecastParameters(BaseModel):
    """Hyper-parameters, each with its range and its reason."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    window_weeks: Annotated[int, Field(ge=1, le=52)] = Field(default=4, description="Weeks of the moving average.")
    level_alpha: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.25, description="Weight of the newest week in the level; half of the weight is on two to three weeks."
    )
    calendar_ridge: Annotated[float, Field(ge=0.01, le=1000)] = Field(
        default=0.3, description="Shrinks the effects of the calendar; a third of one day's weight."
    )
    calendar_min_days: Annotated[int, Field(ge=28)] = Field(
        default=56, description="Days with sales without which no calendar is learned: all weeks are alike."
    )
    rounds: Annotated[int, Field(ge=1, le=5000)] = Field(default=150, description="Trees of LightGBM.")
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(default=0.05, description="Step per tree.")
    num_leaves: Annotated[int, Field(ge=2, le=256)] = Field(default=6, description="Few: a year has 52 weeks.")
    min_rows_in_leaf: Annotated[int, Field(ge=1)] = Field(default=40, description="Rows per leaf.")
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.7, description="Share of the features that a tree may use; they resemble each other."
    )
    l2: Annotated[float, Field(ge=0)] = Field(default=5.0, description="Shrinks the leaves towards zero.")
    shrink_origins: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="A series' own error counts as its origins, the median of its level as so many."
    )


class ForecastSpecification(BaseModel):
    """A demand forecast: how far, who competes, how the winner is found, and how sure it must be."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = "demand"
    horizon: int = Field(default=8, ge=1, le=26, description="Weeks ahead.")
    judged_horizon: int = Field(default=4, ge=1, le=26, description="Of them, the first so many are judged.")
    intervals: tuple[int, ...] = Field(default=(80, 95), description="Percent that the intervals should cover.")
    members: tuple[Member, ...] = Field(default=MEMBERS, min_length=1, description="Who competes.")
    statistical_levels: tuple[str, ...] = Field(
        default=("total", "department"),
        description="Levels at which AutoETS and AutoTheta compete: fitting them takes longer than all else.",
    )
    promoted_levels: tuple[str, ...] = Field(
        default=("category", "product"),
        description="Levels whose promotion counts LightGBM reads; of a whole department they say little.",
    )
    contest_origins: int = Field(default=13, ge=1, le=104, description="Newest origins that choose the winner.")
    calibration_origins: int = Field(default=26, ge=1, le=104, description="Newest origins that set the intervals.")
    min_history_weeks: int = Field(default=13, ge=4, le=520, description="Complete weeks before the first origin.")
    min_origins: int = Field(default=4, ge=1, description="Origins without which nothing is chosen.")
    min_points: int = Field(
        default=10, ge=4, description="A series with fewer weeks gets the moving average instead of a trained member."
    )
    dead_weeks: int = Field(default=8, ge=1, description="As does one that has not sold for so long.")
    max_gap_weeks: int = Field(default=4, ge=0, le=26, description="Weeks by which data may be late.")
    holidays: tuple[Holiday, ...] = Field(
        default=US_RETAIL, description="Days around which shopping differs; other countries bring their own, or none."
    )
    purpose: str = Field(
        default="How much to order and to staff for: net sales of the coming weeks, in total and for departments,"
        " categories, the largest products and stores. It knows of no price change, opening or closing to come.",
        description="What it is for, and what not; for the model card.",
    )
    parameters: ForecastParameters = Field(default_factory=lambda: ForecastParameters())
    seed: int = Field(default=360, ge=0, description="Everything that is drawn at random is drawn from this.")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.judged_horizon > self.horizon:
            raise ValueError(f"{self.name}: judged_horizon {self.judged_horizon} is beyond horizon {self.horizon}")
        if (
            not self.intervals
            or list(self.intervals) != sorted({*self.intervals})
            or not (self.intervals[0] >= 50 and self.intervals[-1] <= 99)
        ):
            raise ValueError(f"{self.name}: intervals must be percentages from 50 to 99, rising")
        if "window_average" not in self.members:
            raise ValueError(f"{self.name}: window_average must be a member; series with few weeks are left to it")
        strange = {*self.statistical_levels, *self.promoted_levels} - set(LEVELS)
        if strange:
            raise ValueError(f"{self.name}: unknown level {', '.join(sorted(strange))}; known are {', '.join(LEVELS)}")
        return self

    @property
    def min_weeks(self) -> int:
        """Complete weeks without which nothing is fitted."""
        return self.min_history_weeks + self.min_origins
