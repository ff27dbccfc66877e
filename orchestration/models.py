"""The models of a refresh: what each reads, how it is challenged, what it scores. No Dagster here, and no learning.

`ml` learns; this hands it the frames of a day. `ml` and its libraries are imported when a model is run.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import duckdb

from orchestration.dbt_project import thresholds
from orchestration.resources.registry import RegisteredModel
from orchestration.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from ml.challenge import Challenge
    from ml.propensity import PropensityModel
    from ml.specification import Specification

# Rows that are in memory at a time while scoring; DuckDB gives them in vectors of 2,048.
BATCH_VECTORS = 25


@dataclass(frozen=True)
class Model:
    """A model as the refresh knows it.

    Attributes:
        name: Of the model, its asset and its table of scores.
        description: For the UI.
        reads: Tables of features that it learns from.
        challenge: Trains as of a day, against the champion's file and its SHA-256.
        score: Scores of a day, frame by frame; by nobody where there is no model: NULLs.
    """

    name: str
    description: str
    reads: tuple[str, ...]
    challenge: Callable[[duckdb.DuckDBPyConnection, date, RegisteredModel | None], "Challenge"]
    score: Callable[[duckdb.DuckDBPyConnection, date, RegisteredModel | None], Iterable["pd.DataFrame"]]


def _columns(specification: "Specification", *more: str | None) -> str:
    """What a model reads, for a select list; each column once."""
    wanted = [*specification.identity, *(specification.features or ()), *more]
    return ", ".join(dict.fromkeys(column for column in wanted if column))


def _frames(connection: duckdb.DuckDBPyConnection, query: str, day: date) -> Iterator["pd.DataFrame"]:
    """The rows of a query batch by batch, so that memory does not grow with them."""
    with connection.cursor() as cursor:
        cursor.execute(query, {"day": day})
        while len(frame := cursor.fetch_df_chunk(BATCH_VECTORS)):
            yield frame


def churn_model(threads: int) -> Model:
    """Churn: customers on the grid of cut-offs teach, the eligible of the day are scored."""

    def specification() -> "Specification":
        from ml.churn import churn_specification

        return churn_specification(thresholds()["dormant_after_days"], thresholds()["churn_window_days"])

    def challenge(connection: duckdb.DuckDBPyConnection, day: date, champion: RegisteredModel | None) -> "Challenge":
        from ml.challenge import challenge_propensity

        spec = specification()
        # The label says for itself whether its window has closed; what closes later than the day is left out by `ml`.
        frame = connection.execute(
            f"select {_columns(spec, spec.activity_column, spec.history_column)}, has_churned"
            " from features.customer_features inner join features.customer_labels using (customer_id, as_of_date)"
            " inner join features.feature_cut_offs using (as_of_date)"
            " where has_churned is not null and is_on_grid and as_of_date < $day",
            {"day": day},
        ).df()
        return challenge_propensity(spec, frame, day, _propensity(champion, threads), threads)

    def score(
        connection: duckdb.DuckDBPyConnection, day: date, scorer: RegisteredModel | None
    ) -> Iterator["pd.DataFrame"]:
        spec = specification()
        due = "from features.customer_features inner join features.customer_labels using (customer_id, as_of_date)"
        due += " where as_of_date = $day and is_eligible_for_churn order by customer_id"
        model = _propensity(scorer, threads)
        columns = "customer_id" if model is None else _columns(model.specification, spec.activity_column)
        frames = _frames(connection, f"select {columns} {due}", day)
        scored = frames if model is None else model.predict_batches(frames, reasons=3)
        return (frame.drop(columns="as_of_date", errors="ignore") for frame in scored)

    return Model(
        "churn",
        "Probability that an active customer places no order in the prediction window.",
        ("features.customer_features", "features.customer_labels"),
        challenge,
        score,
    )


def response_model(threads: int) -> Model:
    """Response: members of earlier campaigns teach; members of those under way are scored as of the first day."""
    examples = (
        " from features.campaign_member_features as members left join"
        " (select as_of_date as start_date, * exclude (as_of_date) from features.customer_features) as customers"
        " using (customer_id, start_date)"
    )

    def read(connection: duckdb.DuckDBPyConnection, spec: "Specification", day: date) -> "pd.DataFrame":
        known = {name for name, *_ in connection.execute("describe features.campaign_member_features").fetchall()}
        columns = ", ".join(
            f"members.{column}" if column in known else f"customers.{column}"
            for column in _columns(spec, spec.window_end_column, spec.event_column, spec.closed_column).split(", ")
        )
        return connection.execute(
            f"select {columns}, members.has_responded, members.assignment, members.is_observed_from_start {examples}"
            " where start_date <= $day",
            {"day": day},
        ).df()

    def teaching(frame: "pd.DataFrame") -> "pd.DataFrame":
        return frame[(frame["assignment"] == "treatment") & frame["is_observed_from_start"].astype(bool)]

    def challenge(connection: duckdb.DuckDBPyConnection, day: date, champion: RegisteredModel | None) -> "Challenge":
        from ml.challenge import challenge_propensity
        from ml.response import response_specification

        spec = response_specification()
        frame = teaching(read(connection, spec, day))
        return challenge_propensity(spec, frame, day, _propensity(champion, threads), threads)

    def score(
        connection: duckdb.DuckDBPyConnection, day: date, scorer: RegisteredModel | None
    ) -> Iterator["pd.DataFrame"]:
        import pandas as pd

        from ml.propensity import predict_forward
        from ml.response import response_specification
        from ml.specification import holdout_times

        model = _propensity(scorer, threads)
        spec = model.specification if model is not None else response_specification()
        frame = read(connection, spec, day)
        start, now = pd.to_datetime(frame["start_date"]), pd.Timestamp(day)
        under_way = pd.to_datetime(frame["end_date"]) >= now
        tested = start.isin([pd.Timestamp(time) for time in holdout_times(spec, teaching(frame), day)])
        due = frame[under_way | tested]
        if model is None:
            yield due[["campaign_id", "customer_id", "start_date"]].rename(columns={"start_date": "as_of_date"})
            return
        times = sorted(start[under_way | tested].unique())
        for scored in predict_forward(model, teaching(frame), times, reasons=3, score=due):
            yield scored.rename(columns={"start_date": "as_of_date"})

    return Model(
        "response",
        "Probability that a member of a campaign responds, told on the campaign's first day.",
        ("features.campaign_member_features", "features.customer_features"),
        challenge,
        score,
    )


def _propensity(registered: RegisteredModel | None, threads: int) -> "PropensityModel | None":
    from ml.propensity import PropensityModel

    if registered is None:
        return None
    return PropensityModel.from_text(registered.content, registered.sha256, threads)


def models(settings: Settings) -> list[Model]:
    """The models, in the order of `MODELS`."""
    return [churn_model(settings.threads), response_model(settings.threads)]
