"""Refreshes on a disk that is full, wherever it fills up: readers keep their version, and space is all it takes."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import copy_of, current_hashes, inbox
from tests.pipeline import Home, rewrite

FEWER = "from rows where household_id < (select max(household_id) from rows)"
KILOBYTE = 1024
DISK_MEGABYTES = 400


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here ({error}); a full one is tested on the store")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def home(small_home: Home, disk: Path) -> Home:
    """A refreshed home on the disk, with new files that wait to be landed."""
    copied = copy_of(small_home, disk)
    rewrite(inbox(copied), "transactions", FEWER)
    return copied


@pytest.fixture
def fill(disk: Path) -> Callable[[int], None]:
    """Leaves so many kilobytes free."""

    def leave(kilobytes: int) -> None:
        ballast = disk / "ballast"
        ballast.unlink(missing_ok=True)
        space = os.statvfs(disk)
        ballast.write_bytes(bytes(max(0, space.f_bavail * space.f_frsize - kilobytes * KILOBYTE)))

    return leave


def refused(home: Home, **environment: str) -> None:
    """A refresh that fails for want of space, says so, and leaves readers what they had."""
    before = current_hashes(home)
    outcome = home.refresh(**environment)
    assert outcome.returncode != 0, outcome.stdout
    said = outcome.stderr.splitlines()
    assert any(word in outcome.stderr for word in ("No space left on device", "disk I/O error", "is full")), said
    assert any(remedy in outcome.stderr for remedy in ("Free disk space", "Free some space")), said
    assert "Traceback" not in outcome.stderr
    assert current_hashes(home) == before


def test_a_refresh_on_a_full_disk_says_so_and_tells_it(home: Home, fill: Callable[[int], None], tmp_path: Path) -> None:
    fill(0)
    refused(home, CUSTOMER360_ALERT_COMMAND=f"tee {tmp_path / 'told'}")
    assert "Free disk space" in (tmp_path / "told").read_text()


@pytest.mark.exhaustive
def test_wherever_the_disk_fills_up_the_next_refresh_with_space_publishes(
    home: Home, fill: Callable[[int], None], small_home: Home, tmp_path: Path
) -> None:
    """Landing, the records of runs, dbt's files and tables, a model's version, the published file: each in turn."""
    models = {"CUSTOMER360_MODELS": "demand"}
    undisturbed = copy_of(small_home, tmp_path / "undisturbed")
    rewrite(inbox(undisturbed), "transactions", FEWER)
    outcome = undisturbed.refresh(**models)
    assert outcome.returncode == 0, outcome.stderr

    refusals, free = 0, 1000
    while True:
        fill(free)
        try:
            refused(home, **models)
        except AssertionError:
            if current_hashes(home) == current_hashes(small_home):
                raise
            break
        refusals += 1
        free = free * 3 // 2
    assert refusals > 5
    assert current_hashes(home) == current_hashes(undisturbed)
    assert home.run("verify").returncode == 0
