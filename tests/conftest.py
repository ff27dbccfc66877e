"""Homes that many tests share. Tests that change one take a copy."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.contract_export import export_contract
from tests.pipeline import Home, cut_sample


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files in an order in which no process waits for a home that another one fills.

    The whole sample takes longest, so it comes first; who else asks for it comes when it is there. Unit tests are
    short, so they come last and fill what is left.
    """

    def turn(path: Path) -> int:
        if path.name == "test_models.py":
            return 0
        return 3 if "unit" in path.parts else 2 if path in of_the_sample else 1

    of_the_sample = {
        item.path
        for item in items
        if "sample_home" in getattr(item, "fixturenames", ()) or "[sample_home]" in item.name
    }
    items.sort(key=lambda item: turn(item.path))


@contextmanager
def shared_folder(factory: pytest.TempPathFactory, name: str) -> Iterator[tuple[Path, bool]]:
    """A folder that all processes of a test run share, and whether it is yet to be filled; one process at a time."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder, not (folder / "filled").exists()
        (folder / "filled").touch()


@pytest.fixture(scope="session")
def sample_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The whole embedded sample, refreshed. Not to be changed."""
    with shared_folder(tmp_path_factory, "sample") as (folder, is_empty):
        home = Home(folder / "data")
        if is_empty:
            # Beside other processes a core is what there is for it.
            outcome = home.refresh(**({"CUSTOMER360_THREADS": "1"} if "PYTEST_XDIST_WORKER" in os.environ else {}))
            assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return home


@pytest.fixture(scope="session")
def small_input(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a few households. Not to be changed."""
    with shared_folder(tmp_path_factory, "small_input") as (folder, is_empty):
        return cut_sample(folder / "files") if is_empty else folder / "files"


@pytest.fixture(scope="session")
def small_home(tmp_path_factory: pytest.TempPathFactory, small_input: Path) -> Home:
    """A few households, refreshed. Not to be changed."""
    with shared_folder(tmp_path_factory, "small") as (folder, is_empty):
        home = Home(folder / "data", small_input)
        if is_empty:
            outcome = home.refresh()
            assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return home


@pytest.fixture(scope="session")
def contract_home(tmp_path_factory: pytest.TempPathFactory, small_input: Path) -> Home:
    """The same households, exported to the contract's shape and refreshed. Not to be changed."""
    with shared_folder(tmp_path_factory, "contract") as (folder, is_empty):
        home = Home(folder / "data", folder / "input", "contract", "America/New_York")
        if is_empty:
            export_contract(small_input, folder / "input")
            outcome = home.refresh()
            assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return home


@pytest.fixture
def copied_home(small_home: Home, tmp_path: Path) -> Home:
    """A refreshed home of a few households that a test may change, with input files of its own."""
    assert small_home.input is not None
    shutil.copytree(small_home.data, tmp_path / "data", symlinks=True)
    shutil.copytree(small_home.input, tmp_path / "input")
    return Home(tmp_path / "data", tmp_path / "input")


@pytest.fixture
def new_home(small_input: Path, tmp_path: Path) -> Callable[[], Home]:
    """Makes empty homes with input files of their own."""
    made = 0

    def make() -> Home:
        nonlocal made
        made += 1
        shutil.copytree(small_input, tmp_path / f"input{made}")
        return Home(tmp_path / f"data{made}", tmp_path / f"input{made}")

    return make
