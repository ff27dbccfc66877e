"""Whole refreshes under kills, rivals, readers, damage and rearranged rows: always one version, always the same.

What is compared is the content hash of every published table.
"""

import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from orchestration.resources.registry import registry_of
from tests.faults import (
    BUILDING,
    REGISTERING,
    Call,
    Moment,
    Statement,
    copy_of,
    current_hashes,
    hashes,
    inbox,
    kept_models,
    killed,
    runs,
    start,
    steps_of,
    wait_for,
)
from tests.pipeline import EXHAUSTIVE, HISTORY_TABLES, Home, cut_sample, rewrite

# Few households suffice to train a forecast; it is registered, and is no better than its baseline.
MODELS = {"CUSTOMER360_MODELS": "demand"}
SKIPPED = ("churn", "response", "value", "segments", "recommendations")
# What readers of two versions, and of every table, would notice.
READ = "select any_value(version), (select sum(lifetime_count_orders) from marts.customer_360) from marts.publication"


def change(home: Home) -> None:
    """Files that give another version: a household less."""
    rewrite(inbox(home), "transactions", "from rows where household_id < (select max(household_id) from rows)")


# Rivals, readers, and what must not matter --------------------------------------------------------


# Somebody's notebook: a query whose rows are fetched one by one, and another connection that is open all the while.
NOTEBOOK = """
import sys
import duckdb

with duckdb.connect(sys.argv[1], read_only=True) as connection:
    cursor = connection.cursor()
    cursor.execute("from marts.order_lines order by all")
    rows = cursor.fetchmany(10)
    print(*connection.execute(sys.argv[2]).fetchone(), flush=True)
    sys.stdin.readline()
    while more := cursor.fetchmany(1000):
        rows += more
    print(*connection.execute(sys.argv[2]).fetchone(), len(rows), flush=True)
"""


@dataclass(frozen=True)
class Rivalry:
    """Two refreshes of changed files at once, a third that waits, and a notebook that is open all the while.

    Attributes:
        old: Content before.
        new: Content of the refresh that ran alone on the warehouse.
        waited: Content of the one that waited, with one thread, in another time zone and another locale.
        refused: Exit code and output of the one that did not wait.
        seconds: What a refresh takes once it has the lock.
        steps: Its steps, one after another.
        held: What the notebook read first and last: the version, its orders, and at last all lines of its orders.
        lines: Lines of the orders of the version that the notebook had opened.
        versions: Those that are left: the notebook's is not among them.
    """

    old: dict[str, str]
    new: dict[str, str]
    waited: dict[str, str]
    refused: tuple[int, str]
    seconds: float
    steps: list[str]
    held: list[str]
    lines: int
    versions: list[str]


@pytest.fixture(scope="module")
def rivalry(small_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Rivalry:
    home = copy_of(small_home, tmp_path_factory.mktemp("rivalry"))
    change(home)
    before, old = runs(home), current_hashes(home)
    ((lines,),) = home.query("select count(*) from marts.order_lines")
    notebook = subprocess.Popen(
        [sys.executable, "-c", NOTEBOOK, str(home.store.root / "current.duckdb"), READ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert notebook.stdout is not None
        held = [notebook.stdout.readline()]
        keep = MODELS | {"CUSTOMER360_KEEP_VERSIONS": "2"}
        first = start(home, **keep, CUSTOMER360_THREADS="2", TZ="UTC", LC_ALL="C.UTF-8")
        wait_for(home, "landing", before, first)
        environment = keep | {"CUSTOMER360_THREADS": "1", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
        third = start(home, CUSTOMER360_LOCK_TIMEOUT_SECONDS="600", **environment)
        second = home.refresh(**keep)
        assert first.poll() is None, "the first refresh was over before the second had been refused"
        output, _ = first.communicate()
        assert first.returncode == 0, output
        output, _ = third.communicate()
        assert third.returncode == 0, output
        output, _ = notebook.communicate("go on\n")
        held += output.splitlines(keepends=True)
    finally:
        notebook.kill()
        notebook.wait()
    new, waited = home.store.versions()
    refused = (second.returncode, second.stderr)
    seconds = (waited.published_at - new.published_at).total_seconds()
    versions = [new.version, waited.version]
    return Rivalry(old, hashes(new), hashes(waited), refused, seconds, steps_of(home), held, lines, versions)


def test_of_two_refreshes_at_once_one_is_refused_and_one_that_waits_runs_later(rivalry: Rivalry) -> None:
    code, output = rivalry.refused
    assert code != 0
    assert "another refresh is running" in output.splitlines()[-1]
    assert "CUSTOMER360_LOCK_TIMEOUT_SECONDS" in output.splitlines()[-1]
    assert rivalry.new != rivalry.old


def test_threads_time_zone_and_locale_make_no_difference(rivalry: Rivalry) -> None:
    assert rivalry.waited == rivalry.new


def test_a_notebook_that_is_open_over_two_refreshes_keeps_its_version_though_it_is_removed(rivalry: Rivalry) -> None:
    """It fails no refresh, and whoever opens the file later has the newest version."""
    first, last = (line.split() for line in rivalry.held)
    assert last == [*first, str(rivalry.lines)]
    assert first[0] not in rivalry.versions


# Kills --------------------------------------------------------------------------------------------


def test_killed_anywhere_readers_have_one_version_and_a_plain_rerun_gives_the_undisturbed_one(
    copied_home: Home, rivalry: Rivalry, tmp_path: Path
) -> None:
    """At random instants and in the middle of registering a model; on demand between steps and in each kept table, too.

    Every run but the first starts on what a killed one has left.
    """
    home = copied_home
    change(home)
    generator = random.Random(20240601)
    instants = sorted(generator.uniform(0, rivalry.seconds) for _ in range(5 if EXHAUSTIVE else 1))
    moments: list[Moment] = [*instants, Call("create_model_version")]
    if EXHAUSTIVE:
        steps = [step for step in rivalry.steps if not any(model in step for model in SKIPPED)]
        calls = [Call(name) for name in REGISTERING if name != "set_registered_model_alias"]
        building = [Statement(node, BUILDING[place % 2]) for place, node in enumerate(kept_models(home))]
        moments = [*calls, *instants, *building, *steps]  # once a version is registered, no call makes it again
    for moment in moments:
        killed(home, moment, tmp_path / "killing", **MODELS)
        assert current_hashes(home) in (rivalry.old, rivalry.new), f"after a kill at {moment}"

    outcome = home.refresh(**MODELS)
    assert outcome.returncode == 0, outcome.stderr
    assert current_hashes(home) == rivalry.new
    outcome = home.run("verify")
    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.exhaustive
def test_killed_while_a_champion_is_made_the_rerun_has_the_same_one_and_its_scores(tmp_path: Path) -> None:
    """Enough households for segments, which score at once. The folder keeps its name, as the registry tells it."""
    home, models = Home(tmp_path / "data", cut_sample(tmp_path / "input", 400)), {"CUSTOMER360_MODELS": "segments"}
    outcome = home.refresh(**models)
    assert outcome.returncode == 0, outcome.stderr
    undisturbed, day = current_hashes(home), date(2018, 1, 1)
    scorer = registry_of(home.settings).scorer("segments", day)
    assert scorer is not None
    shutil.rmtree(home.data)

    registering = [Call(name) for name in REGISTERING[-3:]]
    moments: list[Moment] = ["features_gate", *registering, "models__segments", "scores__segments", "marts"]
    for moment in moments:
        killed(home, moment, tmp_path / "killing", **models)
        assert home.store.current() is None
    outcome = home.refresh(**models)
    assert outcome.returncode == 0, outcome.stderr
    assert current_hashes(home) == undisturbed
    registry = registry_of(home.settings)
    assert registry.scorer("segments", day) == registry.champion("segments", before=date(2018, 1, 2)) == scorer
    outcome = home.run("verify")
    assert outcome.returncode == 0, outcome.stderr


# Time, order and damage ---------------------------------------------------------------------------

DAY = date(2017, 10, 2)
MIDNIGHT = "timestamp '2017-10-02 04:00:00'"  # in New York


@pytest.fixture(scope="module")
def past(small_input: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home that only ever refreshed DAY, from files that end there; its warehouse was damaged before."""
    folder = tmp_path_factory.mktemp("past")
    subprocess.run(["cp", "-a", str(small_input), str(folder / "input")], check=True)
    home = Home(folder / "data", folder / "input")
    rewrite(inbox(home), "transactions", f"from rows where transaction_timestamp < {MIDNIGHT}")
    rewrite(inbox(home), "coupon_redemptions", f"from rows where redemption_date < date '{DAY}'")
    home.data.mkdir()
    home.settings.warehouse_path.write_bytes(b"\xff" * 8192)
    yield home


def test_a_damaged_warehouse_is_named_and_removing_it_is_all_there_is_to_do(past: Home) -> None:
    outcome = past.refresh(str(DAY))
    assert outcome.returncode == 1
    last = outcome.stderr.splitlines()[-1]
    assert str(past.settings.warehouse_path) in last and "remove it: the next refresh builds it again" in last
    assert past.store.current() is None

    past.settings.warehouse_path.unlink()
    outcome = past.refresh(str(DAY))
    assert outcome.returncode == 0, outcome.stderr
    assert current_hashes(past)
    assert past.query("select distinct as_of_date from marts.customer_360_history") == [(DAY,)]


def test_rows_from_the_day_on_change_nothing_of_that_day(past: Home, new_home: Callable[[], Home]) -> None:
    home = new_home()
    at_midnight = (
        f"select * replace (-1 as basket_id, {MIDNIGHT} as transaction_timestamp) from rows"
        " where basket_id = (select min(basket_id) from rows)"
    )
    newcomer = (
        f"select * replace (-2 as basket_id, 999999 as household_id, {MIDNIGHT} as transaction_timestamp) from rows"
        " where basket_id = (select max(basket_id) from rows)"
    )
    rewrite(inbox(home), "transactions", f"from rows union all {at_midnight} union all {newcomer}")

    outcome = home.refresh(str(DAY))

    assert outcome.returncode == 0, outcome.stderr
    assert current_hashes(home) == current_hashes(past)


def test_an_old_day_rebuilt_from_rearranged_rows_gives_that_day_and_leaves_the_newest(
    copied_home: Home, small_home: Home, past: Home
) -> None:
    home = copied_home
    for file in inbox(home).glob("*.parquet"):
        rewrite(inbox(home), file.stem, "from (from rows union all (from rows limit 500)) order by hash(columns(*))")

    outcome = home.refresh(str(DAY))

    assert outcome.returncode == 0, outcome.stderr
    assert f"{DAY} was rebuilt in the history" in outcome.stdout
    newest, rebuilt = current_hashes(small_home), current_hashes(home)
    for history in HISTORY_TABLES:
        assert rebuilt.pop(history) != newest.pop(history)
    assert rebuilt == newest

    history = "from marts.customer_360_history where as_of_date {} order by all"
    assert home.query(history.format(f"= '{DAY}'")) == past.query(history.format(f"= '{DAY}'"))
    assert home.query(history.format(f"!= '{DAY}'")) == small_home.query(history.format("is not null"))
    # The newest day follows the rebuilt one now.
    newest_day = str(home.query("select max(as_of_date) from marts.customer_360_history")[0][0])
    assert home.query(
        "select distinct as_of_date::varchar, previous_as_of_date::varchar from marts.segment_transitions order by 1"
    ) == [(str(DAY), None), (newest_day, str(DAY))]
