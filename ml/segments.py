"""Behavioural segments: customers who shop alike, by a few features that a marketer can act on.

A feature becomes its percentile among the customers fitted on; clusters of percentiles are the segments. Each has an
identity that outlives a refit, a label, traits in numbers, and a rule in the features' own units. How clusters are
found is in `ml/segment_choice.py`, when they are found anew in `ml/segment_challenge.py`.

Measured on the sample, 2018-01-01, k-means with five segments: silhouette .174 (.078 on shuffled columns), stability
.86, and 4 % of the customers change segment from one week to the next by the same model. Tried, and not used:

- Normal scores instead of percentiles: .172 and .77, much of it from ties at the lowest value, which they put three
  standard deviations away; with ties in their middle .149 and .45.
- Principal components: silhouette .35 on two, and .32 where the columns are shuffled before: round clouds have it, too.
- Days since the last visit instead of the share of time away: .165, and 13 % change segment in a week, by where the
  cut-off falls in their rhythm.
- More features: with the trend of the sales stability .71; with the variation of the gaps, weekends or coupons the
  silhouette is .159, .151 or .173.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.special import ndtr
from sklearn.base import BaseEstimator
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from ml import artefact
from ml.monitoring import Bins
from ml.preprocessing import Matrix, NormalScores, finite_numbers
from ml.segment_choice import (
    Candidate,
    Clusters,
    Groups,
    SegmentParameters,
    candidates,
    choose,
    in_order,
    match_identities,
    pairwise_distances,
    permuted_silhouette,
    silhouette,
)
from ml.specification import Moment, TooLittleDataError, days, require_columns

KIND = "segments"
MAX_LABEL = 60
FAR_QUANTILE = 0.99
UNIFORM_SD = math.sqrt(1 / 12)
SMALLEST_LEAF = 0.01
HELD_OUT = 0.3
NO_RULE = "no short rule tells it"

Phrase = tuple[str, Literal[-1, 1]]


class SegmentWords(BaseModel):
    """How a feature is spoken of.

    Attributes:
        theme: What it is about; a label has one phrase per theme.
        text: Its name.
        high: Of a segment that is high in it.
        low: Of one that is low in it.
        kind: How its numbers are written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    theme: str
    text: str
    high: str
    low: str
    kind: Literal["number", "share"] = "number"


def _say(theme: str, text: str, high: str, low: str, kind: Literal["number", "share"] = "number") -> SegmentWords:
    return SegmentWords(theme=theme, text=text, high=high, low=low, kind=kind)


BEHAVIOUR: Mapping[str, SegmentWords] = {
    "count_visits_84d": _say("frequency", "visits per 12 weeks", "frequent visits", "rare visits"),
    "silent_share_14d": _say("frequency", "time away beyond two weeks", "long absences", "steady visits", "share"),
    "net_sales_84d": _say("spend", "net sales per 12 weeks", "high spend", "low spend"),
    "mean_visit_net_sales": _say("basket", "net sales per visit", "large baskets", "small baskets"),
    "mean_visit_categories": _say("basket", "categories per visit", "broad baskets", "narrow baskets"),
    "discount_share": _say("discounts", "discounts in the sales", "discount hunters", "few discounts", "share"),
    "private_label_share": _say("private label", "private label in the sales", "private label", "brands", "share"),
    "fresh_share": _say("fresh", "fresh food in the sales", "fresh food", "little fresh food", "share"),
    "fresh_visit_share": _say("fresh", "visits with fresh food", "fresh food", "little fresh food", "share"),
}


class RefitRule(BaseModel):
    """When segments are found anew; until then customers move between those that there are."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_psi: Annotated[float, Field(gt=0)] = Field(
        default=0.2,
        description="Population stability index of a feature against the fit; above .1 is some drift, above .25 much."
        " Half a year of the sample shows .06.",
    )
    max_silhouette_fall: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.25, description="Share of the silhouette at the fit that may be lost."
    )
    max_far_share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.05, description="Share of the customers farther from their centre than 99 % were at the fit."
    )
    max_silhouette_loss: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.2,
        description="Share by which new segments may be less separated than the old ones on the day's customers.",
    )


class SegmentSpecification(BaseModel):
    """Segments: what they are made of, how they are found, and when they are found anew."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="segments", description="Name of the model, as in the registry.")
    keys: tuple[str, ...] = Field(default=("customer_id",), min_length=1, description="Columns that name a row.")
    time_column: str = Field(default="as_of_date", description="Day of the cut-off.")
    features: tuple[str, ...] = Field(
        default=tuple(BEHAVIOUR), min_length=1, description="Columns that customers are compared by, all alike."
    )
    words: Mapping[str, SegmentWords] = Field(
        default_factory=lambda: dict(BEHAVIOUR), description="How features are spoken of."
    )
    order_by: str = Field(
        default="net_sales_84d", description="The feature whose mean numbers the first segments, highest first."
    )
    min_rows: Annotated[int, Field(ge=2)] = Field(
        default=200, description="Customers without which nothing is found: drift of fewer is noise, too."
    )
    purpose: str = Field(
        default="Whom to address alike: customers who shop alike, with a name and a rule. It says how they shop, not"
        " what an offer would change.",
        description="What it is for, and what not; for the model card.",
    )
    parameters: SegmentParameters = Field(default_factory=lambda: SegmentParameters())
    refit: RefitRule = Field(default_factory=lambda: RefitRule())
    seed: int = Field(default=360, ge=0, description="Everything that is drawn at random is drawn from this.")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(set(self.features)) < len(self.features):
            raise ValueError(f"{self.name}: a feature is named twice in {', '.join(self.features)}")
        reserved = {*self.keys, self.time_column} & set(self.features)
        if reserved:
            raise ValueError(f"{self.name}: {', '.join(sorted(reserved))} cannot be key or time, and a feature")
        if self.order_by not in self.features:
            raise ValueError(f"{self.name}: order_by {self.order_by!r} is not one of the features")
        return self

    def spoken(self, feature: str) -> SegmentWords:
        """The words of a feature; its own name, spaced, where nobody gave any."""
        name = feature.replace("_", " ")
        return self.words.get(feature) or _say(feature, name, f"high {name}", f"low {name}")


class Segment(BaseModel):
    """A segment as it was found.

    Attributes:
        id: From 1 on; never used for another.
        label: In words.
        phrases: The features behind the label, each with the direction that it speaks of.
        traits: What sets it apart, in numbers: medians.
        rule: In the features' units.
        share: Of the customers fitted on.
        differences: By feature, its mean less that of all, in standard deviations of all, over percentiles.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: Annotated[int, Field(ge=1)]
    label: str
    phrases: tuple[Phrase, ...]
    traits: str
    rule: str
    share: float
    differences: Mapping[str, float]


class Leaf(BaseModel):
    """A leaf of the surrogate tree: whom it holds for, and the segment that it tells.

    Attributes:
        conditions: Feature, whether above or at most, threshold; all hold.
        segment_id: Of most customers in it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    conditions: tuple[tuple[str, Literal[">", "<="], float], ...]
    segment_id: int

    def holds(self, values: Mapping[str, Matrix], rows: int) -> npt.NDArray[np.bool_]:
        """For which rows it holds, shape (rows,)."""
        held = np.ones(rows, dtype=np.bool_)
        for feature, relation, threshold in self.conditions:
            held &= values[feature] > threshold if relation == ">" else values[feature] <= threshold
        return held

    def __str__(self) -> str:
        return " and ".join(f"{feature} {relation} {limit:g}" for feature, relation, limit in self.conditions)


@dataclass(frozen=True)
class Measured:
    """A model on the customers of a day.

    Attributes:
        silhouette: On a sample.
        fidelity: Share of the customers whom the rules put in the segment that the model does.
        far_share: Share of them beyond the distance that 99 % kept at the fit.
        shares: Share of them by segment.
        psi: By feature, against the fit.
    """

    silhouette: float
    fidelity: float
    far_share: float
    shares: Mapping[int, float]
    psi: Mapping[str, float]

    @property
    def drift(self) -> float:
        """The largest PSI."""
        return max(self.psi.values())


def day_rows(specification: SegmentSpecification, frame: pd.DataFrame, as_of: Moment) -> pd.DataFrame:
    """The customers of the day in the order of their keys, once it is seen that they can be divided.

    Raises:
        TooLittleDataError: There are too few.
        ValueError: A column is missing, there are rows of another day, or two of one customer.
    """
    spec = specification
    require_columns(frame, [*spec.keys, spec.time_column, *spec.features], spec.name)
    needed = max(spec.min_rows, spec.parameters.min_segments + 1)
    if len(frame) < needed:
        raise TooLittleDataError(
            f"{spec.name}: too little data as of {as_of}: {len(frame)} customers, needed are {needed}"
        )
    found = days(frame, spec.time_column)
    strange = found[found.isna() | (found != pd.Timestamp(as_of))]
    if len(strange):
        raise ValueError(
            f"{spec.name}: {len(strange)} of {len(frame)} rows are not of {pd.Timestamp(as_of).date()}, such as one of"
            f" {strange.iloc[0]}; give the rows of one cut-off"
        )
    rows = frame.sort_values(list(spec.keys), kind="stable")
    doubled = int(rows.duplicated(list(spec.keys)).sum())
    if doubled:
        raise ValueError(f"{spec.name}: {', '.join(spec.keys)} must name one row; {doubled} rows repeat one")
    return rows


def separation(model: "SegmentModel", frame: pd.DataFrame, segment_ids: Groups) -> float:
    """Silhouette of segments, by whomever, among the percentiles of `model`, on a sample drawn from its seed.

    Args:
        model: Fitted.
        frame: Features, in the order of the keys.
        segment_ids: Shape (rows,).
    """
    sample = _sample(len(frame), model.specification)
    with threadpool_limits(limits=1):
        return silhouette(pairwise_distances(model.scaled(frame.iloc[sample])), segment_ids[sample])


def _sample(rows: int, specification: SegmentSpecification) -> Groups:
    drawn = np.random.default_rng(specification.seed).permutation(rows)[: specification.parameters.sample_rows]
    return np.sort(drawn)


def _written(value: float, kind: str) -> str:
    if math.isnan(value):
        return "unknown"
    if kind == "share":
        return f"{value:.0%}"
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.1f}".removesuffix(".0")


class SegmentModel(BaseEstimator):  # type: ignore[misc]
    """Behavioural segments of customers.

    Attributes:
        as_of_: Day of the fit.
        rows_: Customers fitted on.
        features_: The features that vary.
        medians_: Median of each, in their order.
        scores_: From features to normal scores; the percentile is that of the score.
        clusters_: What assigns a row.
        segments_: One per cluster, in its order.
        highest_id_: Of all segments that there ever were.
        far_distance_: From the own centre; 99 % of the customers fitted on were nearer.
        bins_: By feature, for drift.
        leaves_: Of the surrogate tree.
        candidates_: What was compared: algorithm, segments, silhouette, stability, lower, upper, smallest_share.
        chosen_: The one of them that was kept.
        permuted_silhouette_: Silhouette of the same algorithm on columns shuffled independently.
        fidelity_: Accuracy of a surrogate tree on customers held out from it.
        matched_: The segments that the previous model had, too.
        notes_: What was left out, and why.
    """

    def __init__(self, specification: SegmentSpecification) -> None:
        self.specification = specification

    def fit(self, frame: pd.DataFrame, as_of: Moment, previous: "SegmentModel | None" = None) -> Self:
        """Finds segments among the customers of one day.

        Args:
            frame: One row per customer, in any order.
            as_of: The day.
            previous: The model in force, whose segments keep identity and, if still true, label.

        Raises:
            TooLittleDataError: There are too few customers, or too few that differ.
            ValueError: A column is missing, infinite or no number; or no feature varies.
        """
        spec, parameters = self.specification, self.specification.parameters
        rows = day_rows(spec, frame, as_of)
        self.as_of_, self.rows_ = str(pd.Timestamp(as_of).date()), len(rows)
        self.notes_: list[str] = []
        self.highest_id_: int = 0 if previous is None else previous.highest_id_
        self.segments_: list[Segment] = []
        values = self._fit_scaling(rows)
        matrix = self.scaled(rows)
        sample = _sample(len(rows), spec)
        if len(sample) < len(rows):
            self.notes_.append(f"segments were found on {len(sample)} of {len(rows)} customers, drawn at random")
        found = candidates(matrix[sample], parameters, spec.seed)
        chosen = choose(found, parameters)
        groups = chosen.clusters.assign(matrix)
        order = self._order(rows, groups, chosen)
        chosen, groups = in_order(chosen, order), np.argsort(order)[groups]
        self.clusters_ = chosen.clusters
        self.candidates_ = [_facts(candidate) for candidate in found]
        self.chosen_ = _facts(chosen)
        self.permuted_silhouette_ = permuted_silhouette(matrix[sample], chosen, parameters, spec.seed)
        self.far_distance_ = float(np.quantile(self._own_distances(matrix, groups), FAR_QUANTILE))
        self.bins_ = {
            feature: Bins.of(values[:, column], parameters.drift_bins) for column, feature in enumerate(self.features_)
        }
        ids = self._identities(rows, groups, chosen.segments, previous)
        self._describe(matrix, values, groups, ids, previous)
        self._explain(values[sample], groups[sample])
        return self

    def _fit_scaling(self, rows: pd.DataFrame) -> Matrix:
        spec = self.specification
        kept, columns = [], []
        for feature in spec.features:
            column = finite_numbers(rows, feature, spec.name)
            known = column[~np.isnan(column)]
            if not len(known):
                self.notes_.append(f"feature {feature} left out: it is NULL in all {len(rows)} rows")
            elif known.min() == known.max():
                self.notes_.append(f"feature {feature} left out: it is {known[0]:g} wherever it is known")
            else:
                kept.append(feature)
                columns.append(column)
        if not kept:
            raise ValueError(
                f"{spec.name}: none of the {len(spec.features)} features varies: all {len(rows)} customers are alike,"
                " and there is nothing to divide them by"
            )
        self.features_ = tuple(kept)
        values = np.column_stack(columns)
        self.medians_ = np.nanmedian(values, axis=0)
        self.scores_ = NormalScores(spec.parameters.quantiles, spec.seed).fit(values)
        return values

    def _values(self, frame: pd.DataFrame) -> Matrix:
        check_is_fitted(self, "features_")
        require_columns(frame, list(self.features_), self.specification.name)
        columns = [finite_numbers(frame, feature, self.specification.name) for feature in self.features_]
        return np.column_stack(columns)

    def scaled(self, frame: pd.DataFrame) -> Matrix:
        """Percentiles in units of their standard deviation, shape (rows, features); unknown is the middle."""
        if frame.empty:
            return np.zeros((0, len(self.features_)))
        return np.asarray(ndtr(self.scores_.transform(self._values(frame))) / UNIFORM_SD, dtype=np.float64)

    def _order(self, rows: pd.DataFrame, groups: Groups, chosen: Candidate) -> list[int]:
        amounts = np.nan_to_num(finite_numbers(rows, self.specification.order_by, self.specification.name))
        members = [groups == cluster for cluster in range(chosen.segments)]
        means = [float(amounts[own].mean()) if own.any() else -math.inf for own in members]
        centres = chosen.clusters.centres.tolist()
        return sorted(range(chosen.segments), key=lambda cluster: (-means[cluster], centres[cluster]))

    def _own_distances(self, matrix: Matrix, groups: Groups) -> Matrix:
        squared = self.clusters_.squared_distances(matrix)
        return np.asarray(np.sqrt(squared[np.arange(len(groups)), groups]), dtype=np.float64)

    def _identities(
        self, rows: pd.DataFrame, groups: Groups, number: int, previous: "SegmentModel | None"
    ) -> list[int]:
        matched: dict[int, int] = {}
        if previous is not None:
            missing = [feature for feature in previous.features_ if feature not in rows.columns]
            if missing:
                self.notes_.append(f"all segments are new: the previous ones are made of {', '.join(missing)}, too")
            else:
                old = previous.predict(rows)["segment_id"].to_numpy(dtype=np.int64)
                matched = match_identities(old, groups, number, self.specification.parameters.min_overlap)
        ids = []
        for cluster in range(number):
            if cluster not in matched:
                self.highest_id_ += 1
            ids.append(matched.get(cluster, self.highest_id_))
        self.matched_ = sorted(matched.values())
        return ids

    def _describe(
        self, matrix: Matrix, values: Matrix, groups: Groups, ids: Sequence[int], previous: "SegmentModel | None"
    ) -> None:
        spec = self.specification
        spread = matrix.std(axis=0)
        differences = []
        for cluster in range(len(ids)):
            own = matrix[groups == cluster]
            means = own.mean(axis=0) if len(own) else matrix.mean(axis=0)
            away = (means - matrix.mean(axis=0)) / np.where(spread > 0, spread, 1)
            differences.append(dict(zip(self.features_, map(float, away), strict=True)))
        before = {} if previous is None else {old.id: old for old in previous.segments_ if old.id in self.matched_}
        named = _labels(spec, ids, differences, before)
        self.segments_ = []
        for cluster, (number, away, (label, phrases)) in enumerate(zip(ids, differences, named, strict=True)):
            own = values[groups == cluster]
            traits = []
            for feature in _ranked(away)[: spec.parameters.traits]:
                column, words = self.features_.index(feature), spec.spoken(feature)
                known = own[:, column][~np.isnan(own[:, column])]
                middle = float(np.median(known)) if len(known) else math.nan
                typical = _written(float(self.medians_[column]), words.kind)
                traits.append(f"{words.text} {_written(middle, words.kind)} (all: {typical})")
            self.segments_.append(
                Segment(
                    id=number,
                    label=label,
                    phrases=phrases,
                    traits="; ".join(traits),
                    rule="",
                    share=len(own) / len(values),
                    differences=away,
                )
            )

    def _explain(self, values: Matrix, groups: Groups) -> None:
        """The surrogate tree: its leaves, its fidelity, and a rule for each segment."""
        filled = np.where(np.isnan(values), self.medians_, values)
        ids = np.array([segment.id for segment in self.segments_])
        drawn = np.random.default_rng(self.specification.seed).permutation(len(filled))
        held = drawn[: max(1, round(HELD_OUT * len(filled)))]
        taught = np.setdiff1d(drawn, held)
        by_name = dict(zip(self.features_, filled.T, strict=True))
        first = _leaves(self._tree(filled[taught], groups[taught]), self.features_, ids)
        told = _told(first, {name: column[held] for name, column in by_name.items()}, len(held))
        self.fidelity_ = float((told == ids[groups[held]]).mean())
        self.leaves_ = _leaves(self._tree(filled, groups), self.features_, ids)
        self.segments_ = [
            segment.model_copy(update={"rule": _rule(self.leaves_, segment.id, by_name, ids[groups])})
            for segment in self.segments_
        ]

    def _tree(self, values: Matrix, groups: Groups) -> DecisionTreeClassifier:
        return DecisionTreeClassifier(
            max_depth=self.specification.parameters.tree_depth,
            min_samples_leaf=max(1, round(SMALLEST_LEAF * len(values))),
            random_state=self.specification.seed,
        ).fit(values, groups)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The segment of each row; the same alone, in a batch and in any order.

        Args:
            frame: Keys and features, in any order of rows and columns.

        Returns:
            The keys, `segment_id`, `segment_label`, `segment_traits` and `segment_rule`, on the frame's index.

        Raises:
            ValueError: A column is missing, infinite or no number.
        """
        check_is_fitted(self, "features_")
        spec = self.specification
        require_columns(frame, [*spec.keys, *self.features_], spec.name)
        groups = self.clusters_.assign(self.scaled(frame))
        assigned = frame[list(spec.keys)].copy()
        assigned["segment_id"] = np.array([segment.id for segment in self.segments_], dtype=np.int64)[groups]
        for name in ("label", "traits", "rule"):
            texts = np.array([getattr(segment, name) for segment in self.segments_], dtype=object)
            assigned[f"segment_{name}"] = pd.Series(texts[groups], index=frame.index, dtype="str")
        return assigned

    def measure(self, frame: pd.DataFrame) -> Measured:
        """How the model fits the customers of a day.

        Args:
            frame: Features, at least one row, in the order of the keys.

        Raises:
            ValueError: A column is missing, infinite or no number.
        """
        values, matrix = self._values(frame), self.scaled(frame)
        groups = self.clusters_.assign(matrix)
        sample = _sample(len(frame), self.specification)
        with threadpool_limits(limits=1):
            separated = silhouette(pairwise_distances(matrix[sample]), groups[sample])
        filled = np.where(np.isnan(values), self.medians_, values)
        ids = np.array([segment.id for segment in self.segments_])
        told = _told(self.leaves_, dict(zip(self.features_, filled.T, strict=True)), len(filled))
        counts = np.bincount(groups, minlength=len(ids))
        return Measured(
            separated,
            float((told == ids[groups]).mean()),
            float((self._own_distances(matrix, groups) > self.far_distance_).mean()),
            {int(number): float(count / len(frame)) for number, count in zip(ids, counts, strict=True)},
            {name: self.bins_[name].psi(values[:, column]) for column, name in enumerate(self.features_)},
        )

    def text(self) -> bytes:
        """The artefact; `from_text` takes it back. It holds no key of a customer."""
        check_is_fitted(self, "features_")
        state = {name: getattr(self, name) for name in _FITTED}
        state |= {
            "specification": self.specification.model_dump(mode="json"),
            "medians_": self.medians_.tolist(),
            "quantiles": self.scores_.quantiles_.tolist(),
            "clusters": self.clusters_.to_json(),
            "segments": [segment.model_dump(mode="json") for segment in self.segments_],
            "bins": {feature: bins.model_dump(mode="json") for feature, bins in self.bins_.items()},
            "leaves": [leaf.model_dump(mode="json") for leaf in self.leaves_],
        }
        return artefact.to_text(KIND, state)

    @classmethod
    def from_text(cls, content: bytes, sha256: str) -> Self:
        """A model from the bytes of its artefact.

        Raises:
            ArtefactError: They are damaged, not those that were recorded, or of another kind.
        """
        state = artefact.from_text(content, sha256, KIND)
        try:
            made = cls(SegmentSpecification.model_validate(state["specification"]))
            for name in _FITTED:
                setattr(made, name, state[name])
            made.features_ = tuple(made.features_)
            made.medians_ = np.asarray(state["medians_"], dtype=np.float64)
            made.scores_ = NormalScores.from_quantiles(
                np.asarray(state["quantiles"], dtype=np.float64), made.specification.seed
            )
            made.clusters_ = Clusters.from_json(state["clusters"])
            made.segments_ = [Segment.model_validate(segment) for segment in state["segments"]]
            made.bins_ = {feature: Bins.model_validate(bins) for feature, bins in state["bins"].items()}
            made.leaves_ = [Leaf.model_validate(leaf) for leaf in state["leaves"]]
            made._check()
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise artefact.ArtefactError(
                f"the artefact is whole but not a model of this version ({error}). Train anew"
            ) from error
        return made

    def _check(self) -> None:
        shape = len(self.segments_), len(self.features_)
        if not set(self.features_) <= set(self.specification.features):
            raise ValueError(f"it reads {', '.join(self.features_)}, of which its specification knows not all")
        if self.clusters_.centres.shape != shape:
            raise ValueError(f"{self.clusters_.centres.shape} centres, expected are {shape}")
        if self.medians_.shape != shape[1:] or self.scores_.quantiles_.shape[1:] != shape[1:]:
            raise ValueError(f"its scaling is not of {shape[1]} features")
        if set(self.bins_) != set(self.features_):
            raise ValueError("its bins are not those of its features")
        ids = [segment.id for segment in self.segments_]
        if len(set(ids)) < len(ids) or max(ids) > self.highest_id_:
            raise ValueError(f"its segments {ids} repeat, or are above the highest ever used, {self.highest_id_}")
        if any(set(facts) != set(_FACTS) for facts in [self.chosen_, *self.candidates_]):
            raise ValueError(f"what was compared lacks some of {', '.join(_FACTS)}")
        if not {leaf.segment_id for leaf in self.leaves_} <= set(ids):
            raise ValueError("its rules tell segments that there are not")


_FITTED = (
    *("as_of_", "rows_", "features_", "highest_id_", "far_distance_", "candidates_", "chosen_"),
    *("permuted_silhouette_", "fidelity_", "matched_", "notes_"),
)


_FACTS = ("algorithm", "segments", "silhouette", "stability", "lower", "upper", "smallest_share")


def _facts(candidate: Candidate) -> dict[str, Any]:
    return {name: getattr(candidate, name) for name in _FACTS}


def _ranked(differences: Mapping[str, float]) -> list[str]:
    return sorted(differences, key=lambda feature: -abs(differences[feature]))


def _labels(
    specification: SegmentSpecification,
    ids: Sequence[int],
    differences: Sequence[Mapping[str, float]],
    before: Mapping[int, Segment],
) -> list[tuple[str, tuple[Phrase, ...]]]:
    """Label and the phrases behind it of each segment: the old one where all of it still holds, no two alike."""
    spec, limit = specification, specification.parameters.min_difference
    named: dict[int, tuple[str, tuple[Phrase, ...]]] = {}
    for number, away in zip(ids, differences, strict=True):
        old = before.get(number)
        # Half of what it takes to be named: a label must not flicker about the limit.
        if old and old.phrases and all(sign * away.get(name, 0.0) >= limit / 2 for name, sign in old.phrases):
            named[number] = old.label, old.phrases
    for number, away in zip(ids, differences, strict=True):
        if number not in named:
            named[number] = _label(spec, number, away, {label for label, _ in named.values()})
    return [named[number] for number in ids]


def _label(
    specification: SegmentSpecification, number: int, away: Mapping[str, float], taken: set[str]
) -> tuple[str, tuple[Phrase, ...]]:
    parameters = specification.parameters
    by_theme: dict[str, str] = {}
    for feature in _ranked(away):
        by_theme.setdefault(specification.spoken(feature).theme, feature)
    strong = sum(abs(away[feature]) >= parameters.min_difference for feature in by_theme.values())
    used: list[Phrase] = []
    for place, feature in enumerate(by_theme.values()):
        if place >= min(strong, parameters.label_phrases) and _told_as(specification, used) not in taken:
            break
        longer: list[Phrase] = [*used, (feature, 1 if away[feature] >= 0 else -1)]
        if len(_told_as(specification, longer)) <= MAX_LABEL:
            used = longer
    text = _told_as(specification, used)
    return f"{text} ({number})" if text in taken else text, tuple(used)


def _told_as(specification: SegmentSpecification, phrases: Sequence[Phrase]) -> str:
    spoken = [(specification.spoken(feature), sign) for feature, sign in phrases]
    text = ", ".join(words.high if sign == 1 else words.low for words, sign in spoken) or "like most customers"
    return text[:1].upper() + text[1:]


def _leaves(tree: DecisionTreeClassifier, features: Sequence[str], ids: npt.NDArray[np.int64]) -> list[Leaf]:
    nodes, leaves = tree.tree_, []
    open_nodes: list[tuple[int, dict[tuple[str, Literal[">", "<="]], float]]] = [(0, {})]
    while open_nodes:
        node, held = open_nodes.pop()
        if nodes.children_left[node] < 0:
            cluster = int(tree.classes_[nodes.value[node][0].argmax()])
            conditions = tuple((feature, relation, limit) for (feature, relation), limit in held.items())
            leaves.append(Leaf(conditions=conditions, segment_id=int(ids[cluster])))
            continue
        feature, limit = features[nodes.feature[node]], float(f"{nodes.threshold[node]:.3g}")
        # Thresholds are rounded as they are read; the leaves still share out all rows.
        lower, upper = held.get((feature, ">"), -math.inf), held.get((feature, "<="), math.inf)
        open_nodes.append((nodes.children_right[node], {**held, (feature, ">"): max(limit, lower)}))
        open_nodes.append((nodes.children_left[node], {**held, (feature, "<="): min(limit, upper)}))
    return leaves


def _told(leaves: Sequence[Leaf], values: Mapping[str, Matrix], rows: int) -> Groups:
    told = np.zeros(rows, dtype=np.int64)
    for leaf in leaves:
        told[leaf.holds(values, rows)] = leaf.segment_id
    return told


def _rule(leaves: Sequence[Leaf], number: int, values: Mapping[str, Matrix], segments: Groups) -> str:
    """The leaf with the most customers of the segment, how many of them it holds for, and how many others not."""
    own = segments == number
    best, text = 0, NO_RULE
    for leaf in leaves:
        held = leaf.holds(values, len(segments))
        both = int((held & own).sum())
        if leaf.segment_id == number and leaf.conditions and both > best:
            best = both
            told, right = both / own.sum(), both / held.sum()
            text = f"{leaf} (tells {told:.0%} of the segment, and is right for {right:.0%})"
    return text
