"""dbt's unit tests: every one that the project declares ran and passed."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.dbt_project import dbt_executable, dbt_vars
from orchestration.settings import DBT_PROJECT_DIR
from tests.pipeline import Home


@pytest.mark.parametrize("source", ["small_home", "contract_home"])
def test_every_dbt_unit_test_passes(source: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    refreshed: Home = request.getfixturevalue(source)
    shutil.copytree(refreshed.data, tmp_path / "data", symlinks=True)
    copied_home = replace(refreshed, data=tmp_path / "data")
    target = copied_home.data / "unit_tests"
    outcome = subprocess.run(
        [
            *(
                dbt_executable(),
                "test",
                "--select",
                "test_type:unit",
                "--vars",
                dbt_vars(copied_home.settings, copied_home.source),
            ),
            *("--target-path", str(target), "--log-path", str(target)),
        ],
        cwd=DBT_PROJECT_DIR,
        env={**os.environ, **copied_home.settings.dbt_environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr

    results = json.loads((target / "run_results.json").read_text())["results"]
    statuses = {
        result["unique_id"]: result["status"] for result in results if result["unique_id"].startswith("unit_test.")
    }
    declared = set(json.loads((target / "manifest.json").read_text())["unit_tests"])
    assert declared
    assert statuses == dict.fromkeys(declared, "pass")
