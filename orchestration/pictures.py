"""Pictures of tables, by table: what the UI shows beside their preview. `ml` draws; this reads what is drawn."""

from collections.abc import Callable, Mapping
from datetime import date

import duckdb

SHOWN_CLASSIFICATIONS = ("rfm_segment", "lifecycle_stage", "value_tier", "segment_label")

SHOWN_RULES = 40


def picture_of_rules(connection: duckdb.DuckDBPyConnection) -> bytes | None:
    """Which subcategories are bought together, by the rules of two items with the greatest lift; None without rules."""
    rules = connection.execute(
        "select antecedent, consequent, lift, count_antecedent / count_baskets as antecedent_support,"
        " count_consequent / count_baskets as consequent_support from marts.product_affinity"
        " where unit = 'order' and level = 'subcategory' and antecedent_2 is null and not is_trivial"
        " order by round(lift, 9) desc, rule_id limit $shown",
        {"shown": SHOWN_RULES},
    ).df()
    if rules.empty:
        return None
    from ml.plots import rule_network

    return rule_network(f"What is bought together: {len(rules)} rules with the greatest lift", rules)


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


def picture_of_monitoring(connection: duckdb.DuckDBPyConnection, day: date) -> bytes | None:
    """What drifts most on a day, by model; None where nothing is monitored."""
    drifts = connection.execute(
        "select model, kind, metric, value, warn_limit, block_limit from scores.monitoring"
        " where refresh_date = $day and kind in ('feature_drift', 'score_drift') and warn_limit is not null"
        " order by value desc, metric",
        {"day": day},
    ).df()
    if drifts.empty:
        return None
    from ml.plots import drifts as drawn

    return drawn(f"{day}: what drifts most (population stability index beyond chance)", drifts)


def picture_of_skill(connection: duckdb.DuckDBPyConnection) -> bytes | None:
    """What became of the scores, day by day, beside what the hold-out promised; None while nothing has matured."""
    matured = connection.execute(
        "select model, metric, compared_with, value, expected, warn_limit, block_limit from marts.model_monitoring"
        " where kind = 'matured' and expected is not null order by model, metric, compared_with, as_of_date"
    ).df()
    if matured.empty:
        return None
    from ml.plots import skill_over_time

    return skill_over_time("What became of the scores, by the day on which they were made", matured)


PICTURES: Mapping[str, Callable[[duckdb.DuckDBPyConnection], bytes | None]] = {
    "marts.product_affinity": picture_of_rules,
    "marts.segment_transitions": picture_of_transitions,
    "marts.model_monitoring": picture_of_skill,
}
