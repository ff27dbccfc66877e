"""Homes that many tests share. Tests that change one take a copy."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipeline import Home, cut_sample


@pytest.fixture(scope="session")
def sample_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The whole embedded sample, refreshed. Not to be changed."""
    home = Home(tmp_path_factory.mktemp("sample") / "data")
    outcome = home.refresh()
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return home


@pytest.fixture(scope="session")
def small_input(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a few households. Not to be changed."""
    return cut_sample(tmp_path_factory.mktemp("small_input"))


@pytest.fixture(scope="session")
def small_home(tmp_path_factory: pytest.TempPathFactory, small_input: Path) -> Home:
    """A few households, refreshed. Not to be changed."""
    home = Home(tmp_path_factory.mktemp("small") / "data", small_input)
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
