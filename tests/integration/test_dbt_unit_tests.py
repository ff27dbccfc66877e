"""dbt's unit tests: every one that the project declares ran and passed."""

import json
import os
import subprocess

from orchestration.dbt_project import dbt_executable, dbt_vars
from orchestration.settings import DBT_PROJECT_DIR
from tests.pipeline import Home


def test_every_dbt_unit_test_passes(copied_home: Home) -> None:
    target = copied_home.data / "unit_tests"
    outcome = subprocess.run(
        [
            *(dbt_executable(), "test", "--select", "test_type:unit", "--vars", dbt_vars(copied_home.source)),
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
    statuses = {result["unique_id"]: result["status"] for result in results}
    declared = set(json.loads((target / "manifest.json").read_text())["unit_tests"])
    assert declared
    assert statuses == dict.fromkeys(declared, "pass")
