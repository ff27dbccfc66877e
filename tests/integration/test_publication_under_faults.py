"""The publication store under kills, many readers, rival publishers and failing disks.

Every row of every table carries one marker, so a mix of two versions would be seen. Publishers and
readers are processes of their own: within one process DuckDB shares what it has open.
"""

import errno
import itertools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.resources.publication import LARGE_TABLE_ROWS, PublicationError, PublicationStore
from tests.publication_helpers import (
    DAY,
    contents,
    files_expected_of,
    files_of,
    make_warehouse,
    publish_marker,
    published_marker,
    start_python,
    warehouse_with,
)

READERS = 8
PUBLICATIONS = 52

# Publishes a warehouse; before the n-th of the calls that change something on disk, sends itself a
# signal. Profiling sees the calls of C functions without any change to the code under test.
PUBLISHER = """
import os, signal, sys
from pathlib import Path
from orchestration.resources import publication
from orchestration.resources.publication import PublicationStore
from tests.publication_helpers import DAY, contents

root, warehouse, keep, stop_at, stop_signal, large_table_rows = sys.argv[1:]
publication.LARGE_TABLE_ROWS = int(large_table_rows)
STEPS = {
    "mkdir", "flock", "connect", "begin", "execute", "commit", "__exit__", "replace", "fsync",
    "chmod", "symlink", "unlink",
}
steps = 0

def watch(frame, event, function):
    global steps
    if event == "c_call" and function.__name__ in STEPS:
        if not isinstance(function.__self__, str):
            steps += 1
            if steps == int(stop_at):
                print(function.__name__, flush=True)
                os.kill(os.getpid(), int(stop_signal))

expected = contents(Path(warehouse))
print("ready", flush=True)
store = PublicationStore(Path(root), keep=int(keep))
sys.setprofile(watch)
publication = store.publish(Path(warehouse), expected, as_of_date=DAY, source="sample")
sys.setprofile(None)
"""

NEVER = -1


def start_publisher(
    store: PublicationStore,
    warehouse: Path,
    stop_at: int = NEVER,
    stop_signal: signal.Signals = signal.SIGKILL,
    large_table_rows: int = LARGE_TABLE_ROWS,
) -> "subprocess.Popen[str]":
    arguments = (store.root, warehouse, store.keep, stop_at, int(stop_signal), large_table_rows)
    return start_python(PUBLISHER, *arguments)


def assert_recovers(store: PublicationStore, before: int | None, during: int, after: int) -> None:
    """Current is the version before or the one that was under way; publishing just works."""
    if store.current() is None:
        assert before is None
    else:
        store.verify()
        assert published_marker(store) in {before, during}
    for publication in store.versions():
        store.verify(publication.version)

    publish_marker(store, after)

    assert published_marker(store) == after
    assert files_of(store) == files_expected_of(store)
    assert len(store.versions()) <= store.keep


# Kills --------------------------------------------------------------------------------------------


# From nothing, and out of the version before with all tables large.
@pytest.mark.parametrize(("published_before", "large_table_rows"), [(0, LARGE_TABLE_ROWS), (4, 1)])
def test_killed_before_every_step(tmp_path: Path, published_before: int, large_table_rows: int) -> None:
    during, _ = warehouse_with(1000)
    prepared = PublicationStore(tmp_path / "prepared", keep=2)
    for marker in range(published_before):
        publish_marker(prepared, marker)
    steps = []
    for step in itertools.count(1):
        store = PublicationStore(tmp_path / str(step), keep=2)
        if published_before:
            shutil.copytree(prepared.root, store.root, symlinks=True)
        publisher = start_publisher(store, during, stop_at=step, large_table_rows=large_table_rows)
        output, errors = publisher.communicate()
        if publisher.returncode == 0:
            assert published_marker(store) == 1000
            break
        assert publisher.returncode == -signal.SIGKILL, errors
        steps.append(output.split()[-1])
        before = published_before - 1 if published_before else None
        assert_recovers(store, before, 1000, after=2000)
        shutil.rmtree(store.root)

    # The sweep went through the whole publication: building, swapping and, where there is
    # something to prune, pruning; at last the lock's file is closed.
    assert steps[0] == ("flock" if published_before else "mkdir")
    assert steps.count("fsync") == 5
    assert steps.count("replace") >= 4
    assert steps.count("symlink") == 1
    assert steps.count("execute") > (35 if published_before else 15), "out of the version before takes more of them"
    assert steps.count("unlink") == (4 if published_before else 2)
    assert steps[-1] == "__exit__"


def test_killed_at_random_instants(tmp_path: Path) -> None:
    generator = random.Random(20240601)
    store = PublicationStore(tmp_path / "published", keep=3)
    warehouse = make_warehouse(tmp_path / "warehouse.duckdb", marker=1000, rows=20_000)

    publisher = start_publisher(store, warehouse)
    assert publisher.stdout is not None
    assert publisher.stdout.readline() == "ready\n"
    started = time.perf_counter()
    _, errors = publisher.communicate()
    duration = time.perf_counter() - started
    assert publisher.returncode == 0, errors
    assert published_marker(store) == 1000

    marker = 0
    publish_marker(store, marker)
    for _ in range(24):
        publisher = start_publisher(store, warehouse)
        assert publisher.stdout is not None
        assert publisher.stdout.readline() == "ready\n"
        time.sleep(generator.uniform(0, duration))
        publisher.kill()
        publisher.communicate()
        assert_recovers(store, marker, 1000, after=marker + 1)
        marker += 1


# Rivals -------------------------------------------------------------------------------------------


def test_a_rival_is_refused_and_a_killed_holder_blocks_nobody(tmp_path: Path) -> None:
    store = PublicationStore(tmp_path / "published")
    first = publish_marker(store, 1)
    publish_marker(store, 2)
    holder = start_publisher(store, warehouse_with(3)[0], stop_at=12, stop_signal=signal.SIGSTOP)
    try:
        os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT)

        with pytest.raises(PublicationError, match=r"in progress in .*Wait until it has ended"):
            publish_marker(store, 4)
        with pytest.raises(PublicationError, match=r"in progress in .*Wait until it has ended"):
            store.rollback()
        assert published_marker(store) == 2
    finally:
        holder.kill()
        holder.communicate()

    assert store.rollback() == first
    assert publish_marker(store, 4).version == "000003-2024-06-01"
    assert files_of(store) == files_expected_of(store)


def test_rival_publishers_never_corrupt(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from orchestration.resources.publication import PublicationError, PublicationStore
from tests.publication_helpers import DAY, contents
root, warehouse = map(Path, sys.argv[1:])
expected = contents(warehouse)
published = 0
while published < 4:
    try:
        PublicationStore(root, keep=100).publish(warehouse, expected, as_of_date=DAY, source="s")
        published += 1
    except PublicationError as error:
        if "in progress" not in str(error):
            raise
"""
    store = PublicationStore(tmp_path / "published", keep=100)
    rivals = [start_python(script, store.root, warehouse_with(marker)[0]) for marker in range(3)]
    for rival in rivals:
        _, errors = rival.communicate()
        assert rival.returncode == 0, errors

    versions = [publication.version for publication in store.versions()]
    assert versions == [f"{number:06d}-2024-06-01" for number in range(1, 13)]
    for version in versions:
        store.verify(version)
    assert files_of(store) == files_expected_of(store)


# Readers ------------------------------------------------------------------------------------------


def test_readers_never_see_an_error_or_a_mix(tmp_path: Path) -> None:
    reader_script = """
import json, os, sys
from pathlib import Path
import duckdb
from tests.publication_helpers import marker_of
current, stop = map(Path, sys.argv[1:])
os.nice(10)  # the publisher overtakes readers, also in the middle of opening the file
markers = []
stopping = False
while not stopping:
    stopping = stop.exists()
    with duckdb.connect(current, read_only=True, config={"threads": 1}) as connection:
        markers.append(marker_of(connection))
    if len(markers) == 1:
        print("ready", flush=True)
print(json.dumps(markers))
"""
    holder_script = """
import sys
import duckdb
from tests.publication_helpers import marker_of
connection = duckdb.connect(sys.argv[1], read_only=True)
connection.begin()
connection.execute("select count(*) from marts.kpi_daily").fetchall()
print("ready", flush=True)
sys.stdin.readline()
print(marker_of(connection))
"""
    for marker in range(PUBLICATIONS + 1):
        warehouse_with(marker)
    store = PublicationStore(tmp_path / "published", keep=7)
    publish_marker(store, 0)
    stop = tmp_path / "stop"
    current = store.root / "current.duckdb"
    held_file = store.current_file()
    holder = start_python(holder_script, current)
    readers = [start_python(reader_script, current, stop) for _ in range(READERS)]
    try:
        for process in (holder, *readers):
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                pytest.fail(process.communicate()[1])
        for marker in range(1, PUBLICATIONS + 1):
            warehouse, expected = warehouse_with(marker)
            store.publish(warehouse, expected, as_of_date=DAY, source="sample")
        assert not held_file.exists(), "the version that is held open has to be pruned meanwhile"
        stop.touch()
        results = [reader.communicate() for reader in readers]
        held, held_errors = holder.communicate("end\n")
    finally:
        for process in (holder, *readers):
            process.kill()
            process.wait()

    assert (holder.returncode, held) == (0, "0\n"), held_errors
    seen = set()
    for reader, (output, errors) in zip(readers, results, strict=True):
        assert reader.returncode == 0, errors
        markers = json.loads(output)
        assert markers == sorted(markers), "a reader was taken back to an older version"
        assert markers[0] == 0
        assert markers[-1] == PUBLICATIONS
        seen |= set(markers)
    assert len(seen) > 5, "readers have to have seen versions come and go"


# Failing disks ------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here ({error}); a size limit is tested anyway")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_full_disk(small_disk: Path) -> None:
    store = PublicationStore(small_disk / "published", keep=2)
    publish_marker(store, 1)
    before = files_of(store)
    ballast = small_disk / "ballast"

    refusals = 0
    for free in range(0, 8_000_000, 64 * 1024):
        ballast.unlink(missing_ok=True)
        space = os.statvfs(small_disk)
        ballast.write_bytes(bytes(max(0, space.f_bavail * space.f_frsize - free)))
        try:
            publish_marker(store, 2)
        except PublicationError as error:
            refusals += 1
            assert "No space left on device" in str(error)
            assert "Readers get what they got before: 000001-2024-06-01" in str(error)
            assert "Free disk space" in str(error)
            assert published_marker(store) == 1
            assert files_of(store) == before
        else:
            break

    assert refusals > 5
    assert published_marker(store) == 2
    assert files_of(store) == files_expected_of(store)


@pytest.mark.parametrize("limit", [0, 500, 4096, 12_288, 100_000, 600_000, 1_200_000])
def test_files_that_cannot_grow(tmp_path: Path, limit: int) -> None:
    store = PublicationStore(tmp_path / "published")
    publish_marker(store, 1)
    before = files_of(store)
    script = """
import resource, signal, sys
from pathlib import Path
from orchestration.resources.publication import PublicationError, PublicationStore
from tests.publication_helpers import DAY, contents
root, warehouse, limit = sys.argv[1:]
expected = contents(Path(warehouse))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
try:
    PublicationStore(Path(root)).publish(Path(warehouse), expected, as_of_date=DAY, source="sample")
except PublicationError as error:
    print(error)
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    output, errors = start_python(script, store.root, warehouse_with(2)[0], limit).communicate()

    assert "File too large" in output, errors
    assert "Readers get what they got before: 000001-2024-06-01" in output
    assert "Free disk space" in output
    assert published_marker(store) == 1
    assert files_of(store) == before
    publish_marker(store, 3)
    assert files_of(store) == files_expected_of(store)


@pytest.mark.parametrize(("function", "calls"), [("fsync", 5), ("replace", 4), ("symlink", 1)])
@pytest.mark.parametrize("published_before", [0, 1])
def test_failing_system_call(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    calls: int,
    published_before: int,
) -> None:
    warehouse, expected = warehouse_with(1000)
    original = getattr(os, function)
    for failing in itertools.count(1):
        store = PublicationStore(tmp_path / str(failing))
        for marker in range(published_before):
            publish_marker(store, marker)
        before = store.current()
        count = itertools.count(1)

        def fail(*arguments: object, **options: object) -> object:
            if next(count) == failing:  # noqa: B023 -- called within this turn of the loop
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return original(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, function, fail)
            try:
                store.publish(warehouse, expected, as_of_date=DAY, source="sample")
            except PublicationError as error:
                assert "Input/output error" in str(error)
                current = before.version if before else "nothing"
                assert f"Readers get what they got before: {current}" in str(error)
            else:
                break

        assert store.current() == before
        if before is not None:
            assert published_marker(store) == 0
            assert files_of(store) == files_expected_of(store)
        publish_marker(store, 2000)
        assert files_of(store) == files_expected_of(store)

    assert failing == calls + 1
    assert contents(store.current_file()) == expected


def test_a_rollback_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = PublicationStore(tmp_path / "published")
    for marker in (1, 2):
        publish_marker(store, marker)

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    for function in ("fsync", "replace", "symlink"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, fail)
            with pytest.raises(PublicationError, match=r"Rolling back .*Input/output error"):
                store.rollback()
        assert published_marker(store) == 2
    store.rollback()
    assert published_marker(store) == 1
    assert files_of(store) == files_expected_of(store)
