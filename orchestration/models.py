"""The models of a refresh: what each reads of a day, how it is challenged, what it scores. No Dagster, no learning.

`ml` learns; this hands it the frames. `ml` and its libraries are imported when a model is run.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from inspect import getsource
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import duckdb

from orchestration.dbt_project import newest_on_grid, thresholds
from orchestration.resources.registry import RegisteredModel
from orchestration.scores import ScoreFiles, sealed_and_found
from orchestration.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from ml.decision import Challenge
    from ml.forecast import DemandModel
    from ml.propensity import PropensityModel
    from ml.recommendation_specification import RecommendationSpecification
    from ml.recommender import RecommendationModel
    from ml.segments import SegmentModel, SegmentSpecification
    from ml.specification import Specification
    from ml.value import ValueModel
    from ml.value_specification import ValueSpecification

# Rows that are in memory at a time while scoring; DuckDB gives them in vectors of 2,048.
BATCH_VECTORS = 25
# Customers whose lists are made at a time, as each has hundreds of purchases; rows of lists that are taken over.
LISTS_IN_MEMORY = 2048
ROWS_TAKEN_OVER = 25 * 2048
# What products have in common is learned from so many customers at most, drawn by the hash of their names: more add
# little, and memory stays as it is.
LEARNED_FROM_CUSTOMERS = 10_000
REASONS = 3


class Model(Protocol):
    """A model as the refresh knows it.

    Attributes:
        name: Of the model, its asset and its table of scores.
        description: For the UI.
        reads: Tables that it learns from.
        reads_scores: Models whose scores it reads when it scores.
        needs: Entities of the core without a row of which it is skipped, by what they are called together.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    reads: ClassVar[tuple[str, ...]]
    reads_scores: ClassVar[tuple[str, ...]]
    needs: ClassVar[Mapping[str, tuple[str, ...]]]

    def challenge(
        self, connection: duckdb.DuckDBPyConnection, day: date, champion: RegisteredModel | None
    ) -> "Challenge":
        """Trains as of a day, and judges beside the champion.

        Raises:
            ArtefactError: The champion's file cannot be read.
        """
        ...

    def is_current(self, champion: RegisteredModel) -> bool:
        """Whether the champion is made as one would be made today: of the same features, with the same parameters.

        Raises:
            ArtefactError: The champion's file cannot be read.
        """
        ...

    def score(
        self, connection: duckdb.DuckDBPyConnection, day: date, scorer: RegisteredModel | None
    ) -> Iterator["pd.DataFrame"]:
        """Scores of a day, frame by frame; without a scorer the same rows with nothing in them, or a baseline's.

        Raises:
            ArtefactError: The scorer's file cannot be read.
        """
        ...


def lacking(connection: duckdb.DuckDBPyConnection, model: Model) -> str | None:
    """What data of the source a model cannot do without and is not there, in words; None where all is."""
    for called, tables in model.needs.items():
        empty = [table for table in tables if connection.execute(f"from {table} limit 1").fetchone() is None]
        if empty:
            return f"no {called} ({', '.join(empty)} without rows)"
    return None


def _propensity(registered: RegisteredModel | None, threads: int) -> "PropensityModel | None":
    if registered is None:
        return None
    from ml.propensity import PropensityModel

    return PropensityModel.from_text(registered.content, registered.sha256, threads)


def _frames(connection: duckdb.DuckDBPyConnection, query: str, day: date) -> Iterator["pd.DataFrame"]:
    """The rows of a query about a day in batches, so that memory does not grow with the customers."""
    with connection.cursor() as cursor:
        cursor.execute(query, {"day": day})
        while not (frame := cursor.fetch_df_chunk(BATCH_VECTORS)).empty:
            yield frame


def _parts(connection: duckdb.DuckDBPyConnection, table: str, rows: int) -> Iterator["pd.DataFrame"]:
    """The rows of a temporary table, so many at a time: no other cursor sees it."""
    (count,) = connection.execute(f"select count(*) from {table}").fetchall()[0]
    for first in range(0, count, rows):
        yield connection.execute(f"from {table} where rowid >= {first} and rowid < {first + rows}").df()


def _customers(connection: duckdb.DuckDBPyConnection, columns: str, day: date) -> Iterator["pd.DataFrame"]:
    """All who had ordered by a day, in batches."""
    yield from _frames(connection, f"select {columns} from features.customer_features where as_of_date = $day", day)


def _with_names(found: duckdb.DuckDBPyConnection) -> "pd.DataFrame":
    """Millions of rows with names: as Arrow's text these are taken as they are, else an object is made of each."""
    frame: pd.DataFrame = found.to_arrow_table().to_pandas(date_as_object=False)
    return frame


def _drawn(table: str, time_column: str, customers: int) -> str:
    """A query that names so many customers at most of those with rows before $day, by the hash of their names."""
    return (
        f"select distinct customer_id from {table} where {time_column} < $day"
        f" order by md5(customer_id), customer_id limit {customers}"
    )


def _among(customers: int | None) -> str:
    """A condition: rows of so many customers with features at most; all where None."""
    if customers is None:
        return ""
    return f" and customer_id in ({_drawn('features.customer_features', 'as_of_date', customers)})"


def _distinct(*columns: str | None) -> str:
    """Columns for a select list; each once."""
    return ", ".join(dict.fromkeys(column for column in columns if column))


@dataclass(frozen=True)
class PropensityTask(ABC):
    """What the propensity models have in common: examples, a specification, and one way to be challenged."""

    threads: int

    reads_scores: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    @abstractmethod
    def specification(self) -> "Specification":
        """What is learned from what."""

    @abstractmethod
    def examples(self, connection: duckdb.DuckDBPyConnection, day: date) -> "pd.DataFrame":
        """Rows with labels, for a model of that day."""

    def challenge(
        self, connection: duckdb.DuckDBPyConnection, day: date, champion: RegisteredModel | None
    ) -> "Challenge":
        """See `Model`."""
        from ml.challenge import challenge_propensity

        held = _propensity(champion, self.threads)
        return challenge_propensity(self.specification(), self.examples(connection, day), day, held, self.threads)

    def is_current(self, champion: RegisteredModel) -> bool:
        """See `Model`."""
        held = _propensity(champion, self.threads)
        return held is not None and held.specification == self.specification()


@dataclass(frozen=True)
class ChurnModel(PropensityTask):
    """Customers on the grid of cut-offs teach; those of the day who are eligible are scored."""

    limits: Mapping[str, Any] = field(default_factory=thresholds)

    name: ClassVar[str] = "churn"
    description: ClassVar[str] = "Probability that an active customer places no order in the prediction window."
    reads: ClassVar[tuple[str, ...]] = (
        "features.customer_features",
        "features.customer_labels",
        "features.feature_cut_offs",
    )

    def specification(self) -> "Specification":
        """With the windows that the labels are made with."""
        from ml.churn import churn_specification

        return churn_specification(self.limits["dormant_after_days"], self.limits["churn_window_days"])

    def examples(
        self, connection: duckdb.DuckDBPyConnection, day: date, since: date = date.min, customers: int | None = None
    ) -> "pd.DataFrame":
        """Labelled rows of earlier cut-offs, from one on, of so many customers at most.

        `ml` leaves out those whose windows close after the day.
        """
        spec = self.specification()
        columns = _distinct(*spec.identity, *(spec.features or ()), spec.activity_column, spec.history_column)
        return connection.execute(
            f"select {columns}, has_churned"
            " from features.customer_features inner join features.customer_labels using (customer_id, as_of_date)"
            " inner join features.feature_cut_offs using (as_of_date)"
            " where has_churned is not null and is_on_grid and as_of_date >= $since and as_of_date < $day"
            + _among(customers),
            {"day": day, "since": since},
        ).df()

    def score(
        self, connection: duckdb.DuckDBPyConnection, day: date, scorer: RegisteredModel | None
    ) -> Iterator["pd.DataFrame"]:
        """See `Model`."""
        model, columns = _propensity(scorer, self.threads), "customer_id"
        if model is not None:
            spec = model.specification
            columns = _distinct(*spec.identity, *(spec.features or ()), spec.activity_column)
        query = (
            f"select {columns}"
            " from features.customer_features inner join features.customer_labels using (customer_id, as_of_date)"
            " where as_of_date = $day and is_eligible_for_churn"
        )
        for frame in _frames(connection, query, day):
            scored = [frame] if model is None else model.predict_batches([frame], REASONS)
            yield from (rows.drop(columns="as_of_date", errors="ignore") for rows in scored)


@dataclass(frozen=True)
class ResponseModel(PropensityTask):
    """Members of earlier campaigns teach; members of those under way are scored as of the campaign's first day.

    So are the latest campaigns that are over: those that the model is judged on.

    Attributes:
        fits: Folder of what was fitted for a campaign: the next refresh scores it by the same, if nothing has changed.
    """

    fits: Path | None = None

    name: ClassVar[str] = "response"
    description: ClassVar[str] = "Probability that a member of a campaign responds, told on the campaign's first day."
    reads: ClassVar[tuple[str, ...]] = ("features.campaign_member_features", "features.customer_features")
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "campaign data": ("core.campaigns", "core.campaign_members", "core.campaign_responses")
    }

    def specification(self) -> "Specification":
        """The committed one."""
        from ml.response import response_specification

        return response_specification()

    def _members(
        self, connection: duckdb.DuckDBPyConnection, day: date, spec: "Specification"
    ) -> tuple["pd.DataFrame", "pd.DataFrame"]:
        """All members of campaigns that have begun, and of them those who may teach."""
        ours = {name for name, *_ in connection.execute("describe features.campaign_member_features").fetchall()}
        wanted = [*spec.identity, *(spec.features or ()), spec.window_end_column, spec.event_column]
        wanted += [spec.closed_column, spec.label, "assignment", "is_observed_from_start"]
        columns = _distinct(*(f"{'members' if name in ours else 'customers'}.{name}" for name in wanted))
        members = connection.execute(
            f"select {columns} from features.campaign_member_features as members"
            " left join features.customer_features as customers"
            " on members.customer_id = customers.customer_id and members.start_date = customers.as_of_date"
            " where members.start_date <= $day",
            {"day": day},
        ).df()
        may_teach = (members["assignment"] == "treatment") & members["is_observed_from_start"].astype(bool)
        return members, members[may_teach]

    def examples(self, connection: duckdb.DuckDBPyConnection, day: date) -> "pd.DataFrame":
        """Treated members of campaigns that the data cover from their first day."""
        return self._members(connection, day, self.specification())[1]

    def score(
        self, connection: duckdb.DuckDBPyConnection, day: date, scorer: RegisteredModel | None
    ) -> Iterator["pd.DataFrame"]:
        """See `Model`. No score knows anything from its campaign's first day on: the scorer is fitted anew for it."""
        import pandas as pd

        from ml.specification import holdout_times

        model = _propensity(scorer, self.threads)
        spec = self.specification() if model is None else model.specification
        members, examples = self._members(connection, day, spec)
        start = pd.to_datetime(members["start_date"])
        is_under_way = pd.to_datetime(members["end_date"]) >= pd.Timestamp(day)
        is_tested = start.isin([pd.Timestamp(time) for time in holdout_times(spec, examples, day)])
        due = members[is_under_way | is_tested]
        if model is None:
            scored = iter([due[list(spec.identity)]])
        else:
            from ml.propensity import predict_forward

            times = sorted(start[due.index].unique())
            scored = predict_forward(model, examples, times, REASONS, due, self.fits)
        for frame in scored:
            yield frame.rename(columns={"start_date": "as_of_date"})


@dataclass(frozen=True)
class DemandForecast:
    """Weekly net sales of every series; the weeks that are over teach, the coming ones are forecast."""

    name: ClassVar[str] = "demand"
    description: ClassVar[str] = "Net sales of the coming weeks at every level, adding up, with intervals."
    reads: ClassVar[tuple[str, ...]] = (
        "features.weekly_sales",
        "features.weekly_promotions",
        "features.daily_sales",
    )
    reads_scores: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def _sales(self, connection: duckdb.DuckDBPyConnection) -> tuple["pd.DataFrame", "pd.DataFrame", "pd.DataFrame"]:
        """Weekly sales, promotions and daily sales, as the refreshed day sees them."""
        weekly, promotions, daily = (connection.execute(f"from {table}").df() for table in self.reads)
        return weekly, promotions, daily

    def challenge(
        self, connection: duckdb.DuckDBPyConnection, day: date, champion: RegisteredModel | None
    ) -> "Challenge":
        """See `Model`."""
        from ml.challenge import challenge_demand
        from ml.forecast_specification import ForecastSpecification

        weekly, promotions, daily = self._sales(connection)
        held = _demand(champion)
        return challenge_demand(ForecastSpecification(), weekly, day.isoformat(), promotions, daily, held)

    def is_current(self, champion: RegisteredModel) -> bool:
        """See `Model`."""
        from ml.forecast_specification import ForecastSpecification

        held = _demand(champion)
        return held is not None and held.specification == ForecastSpecification()

    def score(
        self, connection: duckdb.DuckDBPyConnection, day: date, scorer: RegisteredModel | None
    ) -> Iterator["pd.DataFrame"]:
        """See `Model`."""
        model = _demand(scorer)
        if model is None:
            from ml.forecast_specification import ForecastSpecification

            yield connection.execute(
                "select level, series_id, max(period_start) + (7 * ahead)::int as period_start"
                " from features.weekly_sales cross join range(1, $weeks + 1) as weeks(ahead)"
                " group by level, series_id, ahead",
                {"weeks": ForecastSpecification().horizon},
            ).df()
            return
        weekly, promotions, _ = self._sales(connection)
        yield model.predict(weekly, day.isoformat(), promotions)


def _demand(registered: RegisteredModel | None) -> "DemandModel | None":
    if registered is None:
        return None
    from ml.forecast import DemandModel

    return DemandModel.from_text(registered.content, registered.sha256)


@dataclass(frozen=True)
class CustomerValue:
    """Customers on the grid of cut-offs teach; all who have ordered are told their value."""

    threads: int
    limits: Mapping[str, Any] = field(default_factory=thresholds)

    name: ClassVar[str] = "value"
    description: ClassVar[str] = "Net sales that a customer will bring in the coming window; who will be a key account."
    reads: ClassVar[tuple[str, ...]] = (
        "features.customer_features",
        "features.customer_value_labels",
        "features.feature_cut_offs",
    )
    reads_scores: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def specification(self) -> "ValueSpecification":
        """With the window and the share that the labels are made with."""
        from ml.value_specification import value_specification

        return value_specification(self.limits["value_window_days"], self.limits["key_account_sales_share"])

    def examples(
        self, connection: duckdb.DuckDBPyConnection, day: date, since: date = date.min, customers: int | None = None
    ) -> "pd.DataFrame":
        """Rows of earlier cut-offs, from one on, of so many customers at most, labelled where closed.

        Those of the day tell the level.
        """
        columns = _distinct(*self.specification().columns)
        return connection.execute(
            f"select {columns} from features.customer_features"
            " inner join features.customer_value_labels using (customer_id, as_of_date)"
            " inner join features.feature_cut_offs using (as_of_date)"
            " where ((is_on_grid and as_of_date >= $since and as_of_date < $day) or as_of_date = $day)"
            + _among(customers),
            {"day": day, "since": since},
        ).df()

    def challenge(
        self, connection: duckdb.DuckDBPyConnection, day: date, champion: RegisteredModel | None
    ) -> "Challenge":
        """See `Model`."""
        from ml.value_challenge import challenge_value

        held, frame = _value(champion, self.threads), self.examples(connection, day)
        return challenge_value(self.specification(), frame, day, held, self.threads)

    def is_current(self, champion: RegisteredModel) -> bool:
        """See `Model`."""
        held = _value(champion, self.threads)
        return held is not None and held.specification == self.specification()

    def score(
        self, connection: duckdb.DuckDBPyConnection, day: date, scorer: RegisteredModel | None
    ) -> Iterator["pd.DataFrame"]:
        """See `Model`."""
        model, columns = _value(scorer, self.threads), "customer_id"
        if model is not None:
            columns = _distinct(*model.specification.identity, *model.specification.features)
        for frame in _customers(connection, columns, day):
            yield (frame if model is None else model.predict(frame)).drop(columns="as_of_date", errors="ignore")


def _value(registered: RegisteredModel | None, threads: int) -> "ValueModel | None":
    if registered is None:
        return None
    from ml.value import ValueModel

    return ValueModel.from_text(registered.content, registered.sha256, threads)


@dataclass(frozen=True)
class CustomerSegments:
    """The customers of the day fall into segments, which stay until drift asks for others."""

    name: ClassVar[str] = "segments"
    description: ClassVar[str] = "Segments of customers who behave alike, the same from day to day."
    reads: ClassVar[tuple[str, ...]] = ("features.customer_features",)
    reads_scores: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def specification(self) -> "SegmentSpecification":
        """What customers are compared by."""
        from ml.segments import SegmentSpecification

        return SegmentSpecification()

    def customers(self, connection: duckdb.DuckDBPyConnection, day: date) -> "pd.DataFrame":
        """All who had ordered by a day."""
        spec = self.specification()
        columns = _distinct(*spec.keys, spec.time_column, *spec.features)
        return connection.execute(
            f"select {columns} from features.customer_features where as_of_date = $day", {"day": day}
        ).df()

    def challenge(
        self, connection: duckdb.DuckDBPyConnection, day: date, champion: RegisteredModel | None
    ) -> "Challenge":
        """See `Model`."""
        from ml.segment_challenge import challenge_segments

        return challenge_segments(self.specification(), self.customers(connection, day), day, _segments(champion))

    def is_current(self, champion: RegisteredModel) -> bool:
        """Never: the challenge itself measures whether the segments fit the day, and keeps them where they do."""
        return False

    def score(
        self, connection: duckdb.DuckDBPyConnection, day: date, scorer: RegisteredModel | None
    ) -> Iterator["pd.DataFrame"]:
        """See `Model`."""
        model, columns = _segments(scorer), "customer_id"
        if model is not None:
            columns = _distinct(*model.specification.keys, *model.specification.features)
        for frame in _customers(connection, columns, day):
            yield frame if model is None else model.predict(frame)


def _segments(registered: RegisteredModel | None) -> "SegmentModel | None":
    if registered is None:
        return None
    from ml.segments import SegmentModel

    return SegmentModel.from_text(registered.content, registered.sha256)


@dataclass(frozen=True)
class Recommendations:
    """What customers bought teaches what they buy next; everybody gets two lists, to buy again and to discover.

    Products are looked at on the grid of cut-offs, a customer from then on whenever they bought: what nothing has
    happened to is taken over from the day before. So a list is the same whether it was taken over or made.

    Attributes:
        threads: Of LightGBM.
        scores: Folder of all scores, with the lists of earlier days.
        fits: Folder of what was fitted before, see `ml.artefact.kept`: which products go together is found once.
    """

    threads: int
    scores: Path
    fits: Path

    name: ClassVar[str] = "recommendations"
    description: ClassVar[str] = "What each customer most likely buys next: of what they know, and of what they do not."
    reads: ClassVar[tuple[str, ...]] = (
        "core.products",
        "features.order_products",
        "features.association_rules",
        "features.association_searches",
        "features.customer_order_metrics",
    )
    reads_scores: ClassVar[tuple[str, ...]] = ("segments",)
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def specification(self) -> "RecommendationSpecification":
        """With what may be offered, and how much of it, as the rest of the project has it."""
        from ml.recommendation_specification import RecommendationSpecification

        limits = thresholds()
        return RecommendationSpecification(
            window_days=limits["offer_window_days"],
            list_length=limits["recommendations_per_list"],
            max_per_category=limits["recommendations_max_per_category"],
            sold_within_days=limits["sold_within_days"],
            excluded_departments=tuple(limits["offer_excluded_departments"]),
            excluded_categories=tuple(limits["offer_excluded_categories"]),
        )

    def _purchases(self, connection: duckdb.DuckDBPyConnection, day: date, customers: str) -> "pd.DataFrame":
        """What some customers bought before a day; `customers` is a query that names them."""
        return _with_names(connection.execute(_BOUGHT.format(customers=customers), {"day": day}))

    def learned_from(self, connection: duckdb.DuckDBPyConnection, day: date) -> "pd.DataFrame":
        """What the customers who teach bought before a day."""
        return self._purchases(connection, day, _TEACHING)

    def products(self, connection: duckdb.DuckDBPyConnection) -> "pd.DataFrame":
        """All products."""
        return _with_names(connection.execute(_PRODUCTS))

    def challenge(
        self, connection: duckdb.DuckDBPyConnection, day: date, champion: RegisteredModel | None
    ) -> "Challenge":
        """See `Model`."""
        from ml.recommendation_challenge import challenge_recommendations

        purchases, products = self.learned_from(connection, day), self.products(connection)
        held = _recommender(champion, self.threads)
        return challenge_recommendations(self.specification(), purchases, products, day, held, self.threads)

    def is_current(self, champion: RegisteredModel) -> bool:
        """See `Model`."""
        held = _recommender(champion, self.threads)
        return held is not None and held.specification == self.specification()

    def score(
        self, connection: duckdb.DuckDBPyConnection, day: date, scorer: RegisteredModel | None
    ) -> Iterator["pd.DataFrame"]:
        """See `Model`; without a scorer the lists of the baselines, named so."""
        from ml.artefact import keep, kept
        from ml.recommendation_items import Affinities
        from ml.recommender import RANKER, prepare

        looked_at = newest_on_grid(day, thresholds())
        made_of = self._made_of(connection, looked_at, scorer)
        connection.execute(_LISTS, {"day": day, "looked_at": looked_at, "made_of": made_of})
        self._take_over(connection, day)
        yield from _parts(connection, "lists_kept", ROWS_TAKEN_OVER)
        if connection.execute("from lists_due limit 1").fetchone() is None:
            return
        affinities = kept(self.fits, made_of)
        recommender = prepare(
            self.specification(),
            _recommender(scorer, self.threads),
            self.learned_from(connection, looked_at),
            self.products(connection),
            connection.execute("select customer_id, segment from lists").df(),
            looked_at,
            connection.execute(_RULES, {"day": looked_at}).df(),
            None if affinities is None else Affinities.from_content(affinities),
        )
        if affinities is None and scorer is not None:  # without a ranker there are none
            keep(self.fits, made_of, recommender.items.affinities.content())
        for part in _parts(connection, "lists_due", LISTS_IN_MEMORY):
            for listed_on in part["listed_on"].unique():
                customers = part[part["listed_on"] == listed_on]
                connection.register("customers_of_batch", customers)
                theirs = self._purchases(connection, day, "select customer_id from customers_of_batch")
                connection.unregister("customers_of_batch")
                lists = recommender.on(listed_on).recommend(customers, theirs)
                fingerprints = lists["customer_id"].map(customers.set_index("customer_id")["input_fingerprint"])
                # What is popular in a segment goes by the segments of the day: such lists are made each day.
                yield lists.assign(listed_on=listed_on, input_fingerprint=fingerprints.where(lists["method"] == RANKER))

    def _made_of(self, connection: duckdb.DuckDBPyConnection, day: date, scorer: RegisteredModel | None) -> str:
        """A hash over what all lists are made of: products, purchases and rules as of a day, the ranker, the code."""
        from ml.artefact import made_by

        teaching = _BOUGHT.format(customers=_TEACHING)
        contents = [
            connection.execute(f"select count(*), sum(hash(seen)::hugeint) from ({query}) as seen", given).fetchall()
            for query, given in ((_PRODUCTS, {}), (teaching, {"day": day}), (_RULES, {"day": day}))
        ]
        code = made_by("implicit", "lightgbm", "numpy", "scikit-learn", "scipy"), getsource(type(self))
        ranker = None if scorer is None else scorer.sha256
        parts = (
            code,
            _LISTS,
            _PRODUCTS,
            teaching,
            _RULES,
            day,
            contents,
            self.specification().model_dump_json(),
            ranker,
        )
        return sha256(repr(parts).encode()).hexdigest()

    def _take_over(self, connection: duckdb.DuckDBPyConnection, day: date) -> None:
        """Parts the lists: kept is what was made before of what it would be made of now; the others are due."""
        files = ScoreFiles(self.scores, self.name)
        newest = next((path for path in map(files.path, [day, *files.days(day)]) if path.exists()), None)
        is_usable = newest is not None and _is_whole(connection, newest)
        kept = (
            "select kept.* exclude (refresh_date) from read_parquet($path) as kept"
            " semi join lists using (customer_id, input_fingerprint)"
        )
        connection.execute(
            f"create or replace temp table lists_kept as {kept if is_usable else 'from lists where false'}",
            {"path": str(newest)} if is_usable else {},
        )
        connection.execute(
            "create or replace temp table lists_due as"
            " from lists anti join lists_kept using (customer_id) order by listed_on, customer_id"
        )


# What some customers bought before a day.
_BOUGHT = (
    "select customer_id, product_id, order_date, units::double as quantity, net_sales::double as net_sales"
    " from features.order_products where order_date < $day and customer_id in ({customers})"
)
_TEACHING = _drawn("features.order_products", "order_date", LEARNED_FROM_CUSTOMERS)
_PRODUCTS = "select product_id, product_name, brand, department, category, subcategory from core.products"
_RULES = (
    "select antecedent_1 as antecedent, consequent, max(confidence) as confidence, max(lift) as lift"
    " from features.association_rules"
    " where as_of_date = (select max(as_of_date) from features.association_searches where as_of_date <= $day)"
    " and level = 'product' and antecedent_2 is null group by all order by all"
)
# For each customer as of which day the list is, and what it is made of.
_LISTS = """
    create or replace temp table lists as
    with bought as (
        select
            customer_id, max(order_date) as last_date, count(*) as row_count,
            sum(hash(product_id, order_date, units, net_sales)::hugeint) as row_hash
        from features.order_products where order_date < $day group by customer_id
    )
    select
        metrics.customer_id, segments.segment_label as segment, greatest($looked_at, last_date + 1)::date as listed_on,
        md5(concat_ws(' ', $made_of, row_count, row_hash)) as input_fingerprint
    from features.customer_order_metrics as metrics
    left join scores.segments as segments
        on metrics.customer_id = segments.customer_id and metrics.as_of_date = segments.refresh_date
    left join bought on metrics.customer_id = bought.customer_id
    where metrics.as_of_date = $day
"""


def _is_whole(connection: duckdb.DuckDBPyConnection, path: Path) -> bool:
    """Whether a file of scores can be read, and holds what was written to it."""
    try:
        seal, found = sealed_and_found(connection, path)
    except duckdb.Error:  # damaged: what is in it is made anew
        return False
    return seal == found


def _recommender(registered: RegisteredModel | None, threads: int) -> "RecommendationModel | None":
    if registered is None:
        return None
    from ml.recommender import RecommendationModel

    return RecommendationModel.from_text(registered.content, registered.sha256, threads)


def models(settings: Settings) -> list[Model]:
    """The models, in the order in which they are trained."""
    threads = settings.threads
    return [
        ChurnModel(threads, thresholds(settings)),
        ResponseModel(threads, settings.fits_dir),
        DemandForecast(),
        CustomerValue(threads, thresholds(settings)),
        CustomerSegments(),
        Recommendations(threads, settings.scores_dir, settings.fits_dir),
    ]


def tunable(settings: Settings) -> dict[str, PropensityTask]:
    """The models whose parameters can be searched, by name."""
    threads = settings.threads
    return {model.name: model for model in (ChurnModel(threads, thresholds(settings)), ResponseModel(threads))}
