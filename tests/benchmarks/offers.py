"""What rules cost beside mlxtend's FP-growth, how good recommendations are, and what they cost as customers grow.

Run as `python -m tests.benchmarks.offers [rules] [accuracy] [standing] [scoring]` on a refreshed warehouse, which is
only read. Costs are ratios of two measurements of this run; seconds and bytes are shown beside them, as machines
differ.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import pandas as pd
import scipy.sparse as sp
from mlxtend.frequent_patterns import association_rules, fpgrowth

from ml.artefact import sha256_of
from ml.recommendation_challenge import GATE, challenge_recommendations
from ml.recommendation_evaluation import TOP
from ml.recommendation_lists import DISCOVER
from ml.recommender import RecommendationModel, prepare
from orchestration.dbt_project import run_folder
from orchestration.models import Recommendations
from orchestration.resources.registry import RegisteredModel
from orchestration.settings import Settings, load_settings
from tests.benchmarks.models import Refreshed, run, show
from tests.benchmarks.refresh import Measured, measure

# Days whose four windows held out end there: what is known of the target of 2017-11-27, and earlier ones.
ACCURACY_DAYS = ("2017-09-04", "2017-10-30", "2017-12-25", "2018-01-01")
METRICS = ("recall_10", "ndcg_10", "hit_rate_10", "coverage_10", "novelty_10", "recall_10_new", "ndcg_10_new")
# Days on which products are looked at, and days from them to those on which standing lists are compared with new ones.
LOOKED_AT, LATER = ("2017-09-17", "2017-10-22", "2017-11-19"), (3, 6)
# From the second on, as many customers as teach at most.
COPIES = (1, 4, 8, 16)
SEARCHES = (("order", "product"), ("order", "subcategory"), ("customer_window", "category"))


def rules(refreshed: Refreshed) -> None:
    """The same rules of the same baskets, each in a process of its own: ours, and FP-growth as a user would call it."""
    with tempfile.TemporaryDirectory() as temporary:
        rows = []
        idle = alone("nothing")
        for unit, level in SEARCHES:
            path = Path(temporary) / f"{unit}_{level}.duckdb"
            baskets, items = cut(refreshed, path, unit, level)
            ours, theirs = (alone(name, path, refreshed.settings.data) for name in ("our_rules", "their_rules"))
            rows.append(
                (
                    *(f"{unit} x {level}", f"{baskets:,}", f"{items:,}"),
                    f"{ours.seconds - idle.seconds:.1f} s / {theirs.seconds - idle.seconds:.1f} s",
                    f"{(ours.seconds - idle.seconds) / (theirs.seconds - idle.seconds):.2f}",
                    f"{mib(ours.peak_bytes - idle.peak_bytes)} / {mib(theirs.peak_bytes - idle.peak_bytes)} MiB",
                    f"{(ours.peak_bytes - idle.peak_bytes) / (theirs.peak_bytes - idle.peak_bytes):.2f}",
                )
            )
    header = ("baskets", "count", "items", "seconds, SQL / FP-growth", "ratio", "memory, SQL / FP-growth", "ratio")
    show("rules of up to three items, beyond a process that only imports", header, rows)


def alone(function: str, *arguments: object) -> Measured:
    """A function of this module in a new interpreter, given its arguments as text."""
    call = f"offers.{function}({', '.join(repr(str(argument)) for argument in arguments)})"
    return measure([sys.executable, "-c", f"from tests.benchmarks import offers; {call}"], dict(os.environ))


def nothing() -> None:
    """Imports alone."""


def cut(refreshed: Refreshed, path: Path, unit: str, level: str) -> tuple[int, int]:
    """A warehouse with the baskets of one search; returns how many baskets and frequent items there are."""
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"attach '{refreshed.settings.warehouse_path}' as whole (read_only); create schema features")
        for table in ("basket_items", "frequent_items"):
            connection.execute(
                f"create table features.{table} as from whole.features.{table} where unit = $unit and level = $level",
                {"unit": unit, "level": level},
            )
        connection.execute("create table features.association_inputs as from whole.features.association_inputs")
        ((baskets, items),) = connection.execute(
            "select max(count_baskets), count(*) from features.frequent_items"
        ).fetchall()
    return int(baskets), int(items)


def our_rules(path: str, data: str) -> None:
    """The model's SQL as the refresh compiled it."""
    settings = load_settings(data=Path(data))
    folder = run_folder(settings) / "compiled" / "customer360" / "models" / "features"
    config = settings.duckdb_config() | {"temp_directory": f"{path}.spilled"}
    with duckdb.connect(config=dict(config)) as connection:
        connection.execute(f"attach '{path}' as warehouse (read_only)")
        connection.execute((folder / "association_rules.sql").read_text()).fetchall()


def their_rules(path: str, _: str) -> None:
    """FP-growth on a one-hot frame of the same baskets, and its rules."""
    with duckdb.connect(path, read_only=True) as connection:
        (baskets, least) = connection.execute(
            "select max(count_baskets), max(min_count) from features.frequent_items"
        ).fetchall()[0]
        # Rare items are left out before: FP-growth would do it, more slowly.
        items = connection.execute(
            "select dense_rank() over (order by basket_number) - 1 as basket,"
            " items.item_number - min(items.item_number) over () as item"
            " from features.basket_items inner join features.frequent_items as items using (item_key)"
            " where window_number > 0"
        ).df()
    ones = sp.csr_matrix(
        ([True] * len(items), (items["basket"], items["item"])), shape=(baskets, items["item"].max() + 1)
    )
    sets = fpgrowth(pd.DataFrame(ones.toarray()), min_support=least / baskets, max_len=3)
    association_rules(sets, metric="confidence", min_threshold=0.05)


def mib(size: int) -> int:
    """Bytes in MiB."""
    return round(size / 2**20)


def recommendations(settings: Settings) -> Recommendations:
    """The model, with what its refresh keeps."""
    return Recommendations(settings.threads, settings.scores_dir, settings.fits_dir)


def accuracy(refreshed: Refreshed) -> None:
    """The challenge of several days: four windows held out before each."""
    model = recommendations(refreshed.settings)
    products = model.products(refreshed.connection)
    for day in ACCURACY_DAYS:
        purchases = model.learned_from(refreshed.connection, date.fromisoformat(day))
        found = challenge_recommendations(model.specification(), purchases, products, day, None, model.threads)
        table = found.performance[found.performance["metric"].isin(METRICS)]
        values = table.pivot_table(index="name", columns="metric", values="value", sort=False)
        show(
            f"recommendations as of {day}: {'; '.join(found.decision.reasons[: len(GATE) + 1])}",
            ("", *METRICS),
            [
                (name, *("" if pd.isna(value) else f"{value:.4f}" for value in row.reindex(METRICS)))
                for name, row in values.iterrows()
            ],
        )


def standing(refreshed: Refreshed) -> None:
    """What it costs that lists stand for a week unless their customer buys: beside lists made anew on the day."""
    model = recommendations(refreshed.settings)
    specification, products = model.specification(), model.products(refreshed.connection)
    purchases = model.learned_from(refreshed.connection, refreshed.day)
    bought_on = pd.to_datetime(purchases["order_date"])
    customers = pd.DataFrame({"customer_id": purchases["customer_id"].unique()}).assign(segment=None)
    rows = []
    for looked_at in map(pd.Timestamp, LOOKED_AT):
        ranker = RecommendationModel(specification, model.threads).fit(purchases, products, looked_at)
        week = prepare(specification, ranker, purchases, products, customers, looked_at)
        for days in LATER:
            day = looked_at + pd.Timedelta(days=days)
            known = purchases[bought_on < day]
            anew = prepare(specification, ranker, known, products, customers, day).recommend(customers, known)
            last = bought_on[bought_on < day].groupby(known["customer_id"]).max() + pd.Timedelta(days=1)
            listed_on = last.where(last > looked_at, looked_at).reindex(customers["customer_id"]).fillna(looked_at)
            stood = pd.concat(
                week.on(one).recommend(customers[(listed_on == one).to_numpy()], known)
                for one in sorted(listed_on.unique())
            )
            window = purchases[(bought_on >= day) & (bought_on < day + pd.Timedelta(days=specification.window_days))]
            for only_new in (False, True):
                found, kept = (recall(lists, window, known, only_new) for lists in (anew, stood))
                difference = kept - found
                spread = 1.96 * difference.std() / len(difference) ** 0.5
                what = "never bought" if only_new else "all"
                rows.append(
                    (f"{day.date()}", what, f"{found.mean():.4f}", f"{difference.mean():+.4f}", f"{spread:.4f}")
                )
    show("lists that stand for a week", ("day", "of", "recall_10, made anew", "standing", "+-"), rows)


def recall(lists: pd.DataFrame, window: pd.DataFrame, known: pd.DataFrame, only_new: bool) -> "pd.Series[float]":
    """Recall of the first ten by customer with a purchase in the window; of what is new, of their lists to discover."""
    key = ["customer_id", "product_id"]
    bought = window[key].drop_duplicates()
    if only_new:
        bought = bought[~pd.MultiIndex.from_frame(bought).isin(pd.MultiIndex.from_frame(known[key]))]
        lists = lists[lists["list"] == DISCOVER]
    place = lists["list_rank" if only_new else "rank"]
    hits = lists.loc[place <= TOP, key].merge(bought, on=key).groupby("customer_id").size()
    wanted = bought.groupby("customer_id").size()
    return hits.reindex(wanted.index).fillna(0) / wanted.clip(upper=TOP)


def scoring(refreshed: Refreshed) -> None:
    """Seconds and memory as customers grow; what products have in common is learned from the same ones."""
    model = recommendations(refreshed.settings)
    purchases = model.learned_from(refreshed.connection, refreshed.day)
    fitted = RecommendationModel(model.specification(), model.threads)
    content = fitted.fit(purchases, model.products(refreshed.connection), refreshed.day).text()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "model.json").write_bytes(content)
        measured = {}
        for copies in COPIES:
            path = folder / f"{copies}.duckdb"
            customers = replicate(refreshed, path, copies)
            measured[customers] = alone("score_all", path, folder / "model.json", refreshed.day)
        first, least = next(iter(measured.items()))
        show(
            "scoring recommendations",
            ("customers", "seconds", "customers per second", "peak MiB", "to the fewest"),
            [
                (
                    *(f"{customers:,}", f"{taken.seconds:.1f}", f"{customers / taken.seconds:,.0f}"),
                    *(mib(taken.peak_bytes), f"{taken.peak_bytes / least.peak_bytes:.2f}"),
                )
                for customers, taken in measured.items()
            ],
        )
        most, longest = list(measured.items())[-1]
        marginal = (most - first) / (longest.seconds - least.seconds)
        print(f"beyond the fixed part {marginal:,.0f} customers per second")


def replicate(refreshed: Refreshed, path: Path, copies: int) -> int:
    """A warehouse with what scoring reads, the customers so many times; returns how many there are."""
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"attach '{refreshed.settings.warehouse_path}' as whole (read_only)")
        connection.execute("create schema features; create schema core; create schema scores")
        connection.execute("create table core.products as from whole.core.products")
        for table in ("association_rules", "association_searches"):
            connection.execute(f"create table features.{table} as from whole.features.{table}")
        for table, where in (
            ("features.customer_order_metrics", f"as_of_date = date '{refreshed.day}'"),
            ("features.order_products", "true"),
        ):
            connection.execute(
                f"create table {table} as select * replace (customer_id || '-' || copy as customer_id)"
                f" from whole.{table} cross join range({copies}) as copies(copy) where {where} order by customer_id"
            )
        connection.execute(
            "create table scores.segments (customer_id varchar, refresh_date date, segment_label varchar)"
        )
        return int(connection.execute("select count(*) from features.customer_order_metrics").fetchall()[0][0])


def score_all(warehouse: str, model: str, day: str) -> None:
    """Makes all lists as a refresh does that has none of earlier days, and keeps none of the frames."""
    settings, content = load_settings(), Path(model).read_bytes()
    registered = RegisteredModel("benchmark", date.fromisoformat(day), sha256_of(content), content)
    config = settings.duckdb_config() | {"temp_directory": f"{warehouse}.spilled"}
    with duckdb.connect(warehouse, config=dict(config)) as connection, tempfile.TemporaryDirectory() as kept:
        made = Recommendations(settings.threads, Path(kept), Path(kept))
        for _ in made.score(connection, date.fromisoformat(day), registered):
            continue


PARTS: dict[str, Callable[[Refreshed], None]] = {
    "rules": rules,
    "accuracy": accuracy,
    "standing": standing,
    "scoring": scoring,
}


if __name__ == "__main__":
    sys.exit(run("tests.benchmarks.offers", (__doc__ or "").splitlines()[0], PARTS))
