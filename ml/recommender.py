"""Recommendations: a ranker over what rhythm, neighbours, factors, content, popularity and rules put forward.

One LightGBM ranker (rank_xendcg; Bruch 2021) orders what a customer bought before together with what is new to them; it
learns each customer's candidates twice, all and the new ones alone, since the own products otherwise drown the rest.
What was learned is the ranker; the item side is computed anew from the day's purchases.

Figures: on the sample, taught by what was known at the cut-off, all customers with a purchase in the 28 days from it
on, FUEL, MISCELLANEOUS and COUPON left out: Recall@10 / nDCG@10 of all products, and of those never bought before:

| ranking | 2017-10-30 | never bought | 2017-11-27 | never bought |
|---|---|---|---|---|
| popularity, faded (28 days) | .136 / .173 | .031 / .033 | .151 / .183 | .037 / .037 |
| personal frequency | .347 / .383 | | .366 / .403 | |
| the same, faded (112 days) | .357 / .393 | | .375 / .414 | |
| item-item cosine | .162 / .188 | .041 / .043 | .164 / .187 | .039 / .040 |
| matrix factorisation | .141 / .157 | .037 / .038 | .152 / .166 | .039 / .038 |
| **ranker, 3 of a category at most** | **.373 / .413** | **.050 / .052** | **.391 / .428** | **.051 / .053** |
| ranker without that limit | .374 / .414 | .050 / .052 | .392 / .429 | .051 / .053 |

- The limit per category costs .002 of the recall, and hardly anything among what was never bought.
- More customers that teach are what helps: 1,500 rather than 1,000 are worth .002 on 2017-10-30.
- No difference (.001 or less, on two earlier cut-offs): the place of a product among the customer's own, or among what
  a source says; shares of its subcategory; 15 or 63 leaves.
- Worse: lambdarank, by .003 of the recall on one cut-off, and slower; drawing misses at another rate from what is own
  than from what is new, by .01.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ml import artefact
from ml.recommendation_baselines import PERSONAL_FREQUENCY, POPULARITY, personal_frequency, popularity_share
from ml.recommendation_candidates import FEATURES, Candidates, Pairs, describe, find_candidates
from ml.recommendation_examples import Examples, Lesson
from ml.recommendation_history import Catalogue, Codes, Flags, Purchases, count_visits, day_number, visit_days
from ml.recommendation_items import POPULAR_BY, Affinities, Items, faded
from ml.recommendation_lists import BUY_AGAIN, DISCOVER, DiscoveryReasons, Lists, due_reasons, make_lists
from ml.recommendation_specification import RecommendationSpecification, closed_cut_offs
from ml.specification import Moment, Scores, TooLittleDataError, require_columns

KIND = "recommendations"
RANKER, SEGMENT_POPULARITY = "ranker", "segment_popularity"
METHODS = (RANKER, PERSONAL_FREQUENCY, SEGMENT_POPULARITY, POPULARITY)
RULE_COLUMNS = ("antecedent", "consequent", "confidence", "lift")
COLUMNS = (
    *("customer_id", "rank", "list", "list_rank", "product_id", "score", "reason", "is_new_to_customer"),
    "method",
)
SEGMENT_PRIOR_VISITS = 50.0
POOL = 1000
# Customers whose candidates are in memory at a time.
BATCH = 2000
_FITTED = ("as_of_", "rows_", "customers_", "cut_offs_", "importance_", "trees_")


class RecommendationModel(BaseEstimator):  # type: ignore[misc]
    """The ranker.

    Attributes:
        as_of_: The midnight at which it was fitted, ISO text: nothing from then on has been seen.
        rows_: Candidates that taught it.
        customers_: Customers and cut-offs that they are of.
        cut_offs_: The cut-offs, ISO text, newest first.
        importance_: Share of each feature in the gain, the highest first.
        trees_: The ranker as LightGBM's text.
        ranker_: The ranker.
    """

    def __init__(self, specification: RecommendationSpecification, threads: int = 0) -> None:
        """Nothing is fitted here.

        Args:
            specification: What to recommend, how to learn.
            threads: Of LightGBM; 0 for all cores. Makes no difference to the result.
        """
        self.specification = specification
        self.threads = threads

    def fit(self, purchases: pd.DataFrame, products: pd.DataFrame, as_of: Moment) -> Self:
        """Learns from the newest cut-offs whose windows had closed by `as_of`.

        Args:
            purchases: customer_id, product_id, order_date, quantity, net_sales; in any order of rows. Those from
                `as_of` on are not looked at.
            products: product_id, product_name, brand, department, category, subcategory; in any order.
            as_of: A midnight.

        Raises:
            TooLittleDataError: No closed cut-off with history before it, or nothing to tell apart in them.
            ValueError: A column is missing, or a number is NULL or infinite.
        """
        spec = self.specification
        catalogue = Catalogue.of(spec, products)
        known = Purchases.of(spec, catalogue, purchases, as_of)
        times = teaching_times(spec, known, as_of)
        taught = (Examples.of(spec, catalogue, known, t, spec.parameters.teaching_customers) for t in times)
        return self.learn([Lesson.of(spec, examples) for examples in taught], times, as_of)

    def learn(self, lessons: Sequence[Lesson], times: Sequence[pd.Timestamp], as_of: Moment) -> Self:
        """As `fit`, from lessons made before: one per cut-off, the newest first.

        Raises:
            TooLittleDataError: In none of them both bought and not bought candidates are found.
        """
        spec, parameters = self.specification, self.specification.parameters
        if not any(0 < lesson.was_bought.sum() < len(lesson.was_bought) for lesson in lessons):
            raise TooLittleDataError(
                f"{spec.name}: nothing to learn from as of {pd.Timestamp(as_of).date()}: of {len(lessons)} closed"
                " cut-offs none has both candidates that were bought in its window and some that were not"
            )
        queries = [lesson for each in lessons for lesson in (each, each.only_new())]
        sizes = [np.unique(query.customer, return_counts=True)[1] for query in queries]
        label = np.concatenate([query.was_bought for query in queries]).astype(np.int64)
        # One thread and the rows as they stand: the same text whatever the cores.
        data = lgb.Dataset(
            np.concatenate([query.features for query in queries]),
            label,
            group=np.concatenate(sizes),
            feature_name=list(FEATURES),
            params={"max_bin": parameters.max_bin, "verbose": -1},
        )
        ranker = lgb.train(
            {
                "objective": "rank_xendcg",
                "learning_rate": parameters.learning_rate,
                "num_leaves": parameters.num_leaves,
                "min_data_in_leaf": parameters.min_rows_in_leaf,
                "feature_fraction": parameters.feature_fraction,
                "lambda_l2": parameters.l2,
                "max_bin": parameters.max_bin,
                "label_gain": [0, 1],
                "seed": spec.seed,
                "deterministic": True,
                "force_row_wise": True,
                "num_threads": self.threads,
                "verbose": -1,
            },
            data,
            parameters.rounds,
        )
        # LightGBM writes the number of threads among the parameters, which makes no difference to the trees.
        self.trees_ = ranker.model_to_string().split("\nparameters:\n")[0]
        self.ranker_ = lgb.Booster(model_str=self.trees_)
        gain = ranker.feature_importance("gain")
        shares = sorted(zip(FEATURES, gain / max(gain.sum(), 1e-9), strict=True), key=lambda pair: (-pair[1], pair[0]))
        self.importance_ = {name: round(float(share), 6) for name, share in shares}
        self.as_of_ = pd.Timestamp(as_of).isoformat()
        self.rows_ = int(sum(len(lesson.was_bought) for lesson in lessons))
        self.customers_ = int(sum(len(np.unique(lesson.customer)) for lesson in lessons))
        self.cut_offs_ = [str(time.date()) for time in times]
        return self

    def score(self, features: npt.NDArray[np.float32]) -> Scores:
        """Scores of candidates, comparable within a customer, shape (rows,)."""
        check_is_fitted(self, "ranker_")
        if not len(features):
            return np.zeros(0)
        return np.asarray(self.ranker_.predict(features, num_threads=self.threads), dtype=np.float64)

    def text(self) -> bytes:
        """The artefact: what was learned. The same data, parameters and seed give the same bytes."""
        check_is_fitted(self, "ranker_")
        state: dict[str, Any] = {name: getattr(self, name) for name in _FITTED}
        state |= {"specification": self.specification.model_dump(mode="json"), "features": list(FEATURES)}
        return artefact.to_text(KIND, state)

    @classmethod
    def from_text(cls, content: bytes, sha256: str, threads: int = 0) -> Self:
        """A model from the bytes of its artefact.

        Raises:
            ArtefactError: They are damaged, not those that were recorded, or of another kind.
        """
        state = artefact.from_text(content, sha256, KIND)
        try:
            made = cls(RecommendationSpecification.model_validate(state["specification"]), threads)
            for attribute in _FITTED:
                setattr(made, attribute, state[attribute])
            if state["features"] != list(FEATURES):
                raise ValueError("it reads other features")
            made.ranker_ = lgb.Booster(model_str=made.trees_)
        except (KeyError, TypeError, ValueError, lgb.basic.LightGBMError) as error:
            raise artefact.ArtefactError(
                f"the artefact is whole but not a model of this version ({error}). Train anew"
            ) from error
        return made


def teaching_times(
    specification: RecommendationSpecification, purchases: Purchases, as_of: Moment
) -> list[pd.Timestamp]:
    """The cut-offs that teach as of a day, newest first.

    Raises:
        TooLittleDataError: There is none.
    """
    spec = specification
    if not len(purchases):
        raise TooLittleDataError(
            f"{spec.name}: no purchase of a product that may be recommended before {pd.Timestamp(as_of).date()}"
        )
    first = pd.Timestamp(int(purchases.day.min()), unit="D")
    times = closed_cut_offs(spec, first, as_of)[: spec.parameters.teaching_cut_offs]
    if not times:
        raise TooLittleDataError(
            f"{spec.name}: too little history as of {pd.Timestamp(as_of).date()}: the first purchase is of"
            f" {first.date()}; needed are {spec.min_history_days} days and a window of {spec.window_days} after them"
        )
    return times


@dataclass(frozen=True)
class Pool:
    """What is popular with all customers, or those of a segment, the most popular first.

    Attributes:
        products: Places in the catalogue.
        kinds: Their categories; see `Catalogue.kinds`.
        share: Of the visits of these customers, shrunk to that of all; faded.
        is_of_segment: Whether customers of the segment bought it; if not, it is popular with all.
    """

    products: Codes
    kinds: Codes
    share: Scores
    is_of_segment: Flags

    def first_new(self, specification: RecommendationSpecification, own: Codes) -> Codes:
        """Places in here of what `make_lists` takes for somebody who bought the products `own`, and none of these."""
        known, taken, places = set(own.tolist()), Counter[int](), []
        for place, (product, kind) in enumerate(zip(self.products.tolist(), self.kinds.tolist(), strict=True)):
            if product in known or taken[kind] == specification.max_per_category:
                continue
            taken[kind] += 1
            places.append(place)
            if len(places) == specification.list_length:
                break
        return np.array(places, dtype=np.int64)


@dataclass(frozen=True)
class Recommender:
    """What lists are made with: prepared once by `prepare`, then asked batch by batch of customers, on some days.

    Attributes:
        specification: Lengths and limits, exclusions.
        items: The item side, with the day that the lists are of.
        model: The ranker; None to fall back on frequency and popularity.
        rules: Confidence of rules, row = antecedent, shape (products, products); None where there are none.
        popular: With all customers.
        popular_in: By segment.
        discovery_reasons: For what is new to a customer.
    """

    specification: RecommendationSpecification
    items: Items
    model: RecommendationModel | None
    rules: sp.csr_matrix | None
    popular: Pool
    popular_in: Mapping[str, Pool]
    discovery_reasons: DiscoveryReasons

    def on(self, day: Moment) -> Self:
        """The same asked on a later day: what customers bought until then counts, of the products nothing newer does.

        Raises:
            ValueError: The day is before the one that the item side is of.
        """
        number = day_number(day)
        if number < self.items.day:
            made = pd.Timestamp(self.items.day, unit="D").date()
            raise ValueError(f"lists of {pd.Timestamp(day).date()} are asked of an item side of {made}, a later day")
        return replace(self, items=replace(self.items, day=number))

    def recommend(self, customers: pd.DataFrame, purchases: pd.DataFrame) -> pd.DataFrame:
        """The lists of some customers.

        Args:
            customers: customer_id, and segment (NULL where there is none); everyone who shall get lists.
            purchases: Theirs, as for `RecommendationModel.fit`; those of others, or from the day on, are not looked at.

        Returns:
            Columns COLUMNS, by customer and rank: `list` is buy_again or discover; `score` is comparable within a
            customer; `method` is who ranked, one of METHODS.

        Raises:
            ValueError: A column is missing, a customer is there twice, or a number is NULL or infinite.
        """
        spec, items = self.specification, self.items
        ids, segment = _customers(spec, customers)
        theirs = Purchases.of(spec, items.catalogue, purchases, pd.Timestamp(items.day, unit="D"), ids)
        is_ranked = (count_visits(theirs) >= spec.min_visits) & (self.model is not None)
        segment[count_visits(theirs) >= spec.min_visits] = None
        ranked, others = np.flatnonzero(is_ranked), np.flatnonzero(~is_ranked)
        lists = [self._by_popularity(theirs.of_customers(these), segment[these]) for these in _batches(others)]
        if self.model is not None:
            lists += [self._by_rank(self.model, theirs.of_customers(these)) for these in _batches(ranked)]
        return pd.concat(lists).sort_values(["customer_id", "rank"], kind="stable", ignore_index=True)

    def _by_rank(self, model: RecommendationModel, theirs: Purchases) -> pd.DataFrame:
        pairs = Pairs.of(theirs, self.items.day)
        rows = find_candidates(self.items, theirs, pairs, self.rules)
        scores = model.score(describe(self.items, theirs, pairs, rows))
        made = make_lists(self.specification, rows, scores, self.items.catalogue.kinds)
        is_new = rows.is_new[made.row]
        reason, method = self._due(theirs, pairs, rows, made), np.full(len(is_new), RANKER, dtype=object)
        reason[is_new] = self.discovery_reasons(rows, pairs, made.row[is_new])
        return self._frame(theirs, rows, scores, made, reason, method)

    def _by_popularity(self, theirs: Purchases, segment: npt.NDArray[Any]) -> pd.DataFrame:
        """What they bought before by frequency, and what is popular in their segment, or with all where it is None."""
        spec, pairs, count = self.specification, Pairs.of(theirs, self.items.day), len(theirs.customer_ids)
        pools = [self.popular_in.get(name, self.popular) for name in segment]
        owned = np.searchsorted(pairs.customer, np.arange(count + 1))
        again = np.flatnonzero(self.items.is_sold[pairs.product])
        new = [pool.first_new(spec, pairs.product[owned[n] : owned[n + 1]]) for n, pool in enumerate(pools)]
        sizes = np.array([len(places) for places in new], dtype=np.int64)

        def joined(first: npt.NDArray[Any], of_pool: Callable[[Pool], npt.NDArray[Any]]) -> npt.NDArray[Any]:
            return np.concatenate([first, *(of_pool(pool)[places] for pool, places in zip(pools, new, strict=True))])

        pair = np.r_[again, np.full(sizes.sum(), -1)]
        rows = Candidates(
            customer=np.r_[pairs.customer[again], np.repeat(np.arange(count), sizes)],
            product=joined(pairs.product[again], lambda pool: pool.products),
            is_new=pair < 0,
            scores=np.zeros((len(pair), 0)),
            pair=pair,
        )
        share = joined(np.zeros(len(again)), lambda pool: pool.share)
        is_of_segment = joined(np.zeros(len(again), dtype=bool), lambda pool: pool.is_of_segment)
        frequency = personal_frequency(pairs, rows, count_visits(theirs))
        scores = np.where(rows.is_new, share, frequency)
        made = make_lists(spec, rows, scores, self.items.catalogue.kinds)
        is_new, told = rows.is_new[made.row], is_of_segment[made.row]
        reason = self._due(theirs, pairs, rows, made)
        reason[is_new & told] = [
            f"popular in segment {name}" for name in segment[rows.customer[made.row[is_new & told]]]
        ]
        reason[is_new & ~told] = "popular with all customers"
        fallback = np.where(told, SEGMENT_POPULARITY, POPULARITY)
        method = np.where(is_new, fallback, PERSONAL_FREQUENCY).astype(object)
        return self._frame(theirs, rows, scores, made, reason, method)

    def _due(self, theirs: Purchases, pairs: Pairs, rows: Candidates, made: Lists) -> npt.NDArray[Any]:
        """Reasons of what was bought before; the others are not filled in."""
        reason = np.full(len(made.row), "", dtype=object)
        is_own = ~rows.is_new[made.row]
        reason[is_own] = due_reasons(pairs, count_visits(theirs), rows.pair[made.row[is_own]], self.items.day)
        return reason

    def _frame(
        self,
        theirs: Purchases,
        rows: Candidates,
        scores: Scores,
        made: Lists,
        reason: npt.NDArray[Any],
        method: npt.NDArray[Any],
    ) -> pd.DataFrame:
        is_new = rows.is_new[made.row]
        table = {
            "customer_id": theirs.customer_ids.to_numpy()[rows.customer[made.row]],
            "rank": made.rank,
            "list": np.where(is_new, DISCOVER, BUY_AGAIN).astype(object),
            "list_rank": made.list_rank,
            "product_id": self.items.catalogue.ids.to_numpy()[rows.product[made.row]],
            "score": np.round(scores[made.row], 6),
            "reason": reason,
            "is_new_to_customer": is_new,
            "method": method,
        }
        texts = ("customer_id", "list", "product_id", "reason", "method")
        return pd.DataFrame(table, columns=list(COLUMNS)).astype(dict.fromkeys(texts, "str"))


def prepare(
    specification: RecommendationSpecification,
    model: RecommendationModel | None,
    purchases: pd.DataFrame,
    products: pd.DataFrame,
    customers: pd.DataFrame,
    day: Moment,
    rules: pd.DataFrame | None = None,
    affinities: Affinities | None = None,
) -> Recommender:
    """The recommender of a day. What it keeps grows with the products, not with the customers.

    Args:
        specification: Lengths, limits and exclusions of the lists; how candidates are found is the model's, if there
            is one, as it learned with that.
        model: The ranker; None to fall back on frequency and popularity.
        purchases: Of all customers, as for `RecommendationModel.fit`; those from the day on are not looked at.
        products: As for `RecommendationModel.fit`.
        customers: customer_id and segment (NULL where there is none), for what is popular in a segment.
        day: A midnight.
        rules: antecedent, consequent (product ids), confidence, lift; None or empty where there are none. Of rules that
            concern a product not in the catalogue, or with a lift of 1 or less, nothing is made.
        affinities: As found before, from the same products and purchases for the same day; None to find them.

    Raises:
        ValueError: A column is missing, a customer or product is there twice, or a number is NULL or infinite.
    """
    if model is not None:
        specification = specification.model_copy(update={"parameters": model.specification.parameters})
    catalogue = Catalogue.of(specification, products)
    known = Purchases.of(specification, catalogue, purchases, day)
    items = Items.of(specification, catalogue, known, day_number(day), model is not None, affinities)
    ids, segment = _customers(specification, customers)
    popular_in = {}
    of_customer = pd.Series(segment, index=ids).reindex(known.customer_ids).to_numpy()
    for name in sorted({name for name in segment if name is not None}):
        theirs = known.of_customers(np.flatnonzero(of_customer == name))
        if len(theirs):
            popular_in[name] = _pool(items, theirs, is_segment=True)
    matrix = _rules(specification, catalogue, rules)
    return Recommender(
        specification,
        items,
        model,
        matrix,
        _pool(items, known, is_segment=False),
        popular_in,
        DiscoveryReasons(items, matrix),
    )


def _batches(places: Codes) -> list[Codes]:
    """The places in batches; one that is empty where there are none."""
    return [places[first : first + BATCH] for first in range(0, max(len(places), 1), BATCH)]


def _customers(
    specification: RecommendationSpecification, frame: pd.DataFrame
) -> tuple["pd.Index[str]", npt.NDArray[Any]]:
    """Identities, sorted, and segments; None where there is none."""
    require_columns(frame, ["customer_id", "segment"], specification.name)
    ids = frame["customer_id"].astype(str)
    double = ids.duplicated()
    if double.any():
        raise ValueError(f"{specification.name}: customer_id must name one row of the customers; some name several")
    order = np.argsort(ids.to_numpy(dtype=object), kind="stable")
    segment = [None if pd.isna(name) else str(name) for name in frame["segment"].iloc[order]]
    return pd.Index(ids.iloc[order].to_numpy(dtype=object)), np.array(segment, dtype=object)


def _pool(items: Items, theirs: Purchases, is_segment: bool) -> Pool:
    """What is popular with the customers whose purchases these are."""
    weight = np.bincount(
        theirs.product, weights=faded(items.day - theirs.day, POPULAR_BY), minlength=len(items.catalogue)
    )
    _, day = visit_days(theirs)
    visits, overall = faded(items.day - day, POPULAR_BY).sum(), popularity_share(items)
    share = (weight + SEGMENT_PRIOR_VISITS * overall) / (visits + SEGMENT_PRIOR_VISITS)
    sold = items.order[np.lexsort((items.order, -np.round(share[items.order], 12)))][:POOL]
    return Pool(sold, items.catalogue.kinds[sold], share[sold], (weight[sold] > 0) & is_segment)


def _rules(
    specification: RecommendationSpecification, catalogue: Catalogue, rules: pd.DataFrame | None
) -> sp.csr_matrix | None:
    if rules is None or rules.empty:
        return None
    require_columns(rules, list(RULE_COLUMNS), specification.name)
    antecedent, consequent = (
        catalogue.ids.get_indexer(pd.Index(rules[side].astype(str))) for side in ("antecedent", "consequent")
    )
    numbers = rules[["confidence", "lift"]].astype(float).to_numpy()
    if not np.isfinite(numbers).all():
        raise ValueError(
            f"{specification.name}: confidence and lift of rules must be finite; some are NULL or infinite"
        )
    kept = (antecedent >= 0) & (consequent >= 0) & (numbers[:, 1] > 1)
    if not kept.any():
        return None
    shape = (len(catalogue), len(catalogue))
    return sp.csr_matrix((numbers[kept, 0], (antecedent[kept], consequent[kept])), shape=shape)
