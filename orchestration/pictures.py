"""Pictures of tables, by table: what the UI shows beside their preview. `ml` draws; this reads what is drawn."""

from collections.abc import Callable, Mapping

import duckdb

SHOWN_CLASSIFICATIONS = ("rfm_segment", "lifecycle_stage", "value_tier", "segment_label")


def picture_of_transitions(connection: duckdb.DuckDBPyConnection) -> bytes | None:
    """How customers moved between labels to the refreshed day; None for the first day of the history."""
    moves = connection.execute(
        "select classification, previous_as_of_date, as_of_date, from_label, to_label, customers"
        " from marts.segment_transitions inner join control.refresh using (as_of_date)"
        " where previous_as_of_date is not null and from_label != 'not_known' and classification in $shown",
        {"shown": list(SHOWN_CLASSIFICATIONS)},
    ).df()
    if moves.empty:
        return None
    from ml.plots import transitions

    first, last = (str(moves[column].iloc[0])[:10] for column in ("previous_as_of_date", "as_of_date"))
    return transitions(
        f"From {first} (rows) to {last} (columns): share of each row",
        {name: part for name in SHOWN_CLASSIFICATIONS if len(part := moves[moves["classification"] == name])},
    )


PICTURES: Mapping[str, Callable[[duckdb.DuckDBPyConnection], bytes | None]] = {
    "marts.segment_transitions": picture_of_transitions,
}
