"""Frames that tests share; none changes them."""

import pandas as pd
import pytest

from tests.unit.ml.ml_frames import make_frame, make_timed


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    return make_frame()


@pytest.fixture(scope="session")
def timed() -> pd.DataFrame:
    return make_timed()
