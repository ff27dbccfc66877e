"""The README's walk to a source of one's own: lay out, look, fill in, refresh."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.dbt_project import dbt_executable
from orchestration.settings import PROJECT_ROOT
from tests.pipeline import Home

EXPORT = PROJECT_ROOT / "tests" / "corner_shop"
PARTS = ("orchestration", "ml", "dbt_project")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, as the walk adds to it."""
    folder = tmp_path_factory.mktemp("checkout")
    for part in PARTS:
        shutil.copytree(
            PROJECT_ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "target", "logs")
        )
    return folder


def run(checkout: Path, home: Home, *arguments: str) -> str:
    """A command of the copied project; what it printed."""
    environment = {**home.environment(SOURCE="corner_shop"), "PYTHONPATH": str(checkout)}
    outcome = subprocess.run(
        [sys.executable, "-m", "orchestration", *arguments],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


def rewritten(path: Path, old: str, new: str, encoding: str = "utf-8") -> None:
    """Replaces a word that must be there."""
    text = path.read_bytes().decode(encoding)
    assert old in text, path
    path.write_bytes(text.replace(old, new).encode(encoding))


def test_the_walk(checkout: Path, tmp_path: Path) -> None:
    export = tmp_path / "export"
    shutil.copytree(EXPORT, export)
    home = Home(tmp_path / "data", export)

    made = run(checkout, home, "source", "corner_shop")
    assert "_corner_shop__sources.yml" in made
    assert run(checkout, home, "check-data").endswith("can run: yes\n")

    # The company's own export has other words: they are filled in where the example has its own.
    rewritten(export / "receipts.csv", "Pieces", "Quantity_Sold", "cp1252")
    folder = checkout / "dbt_project" / "models" / "staging" / "corner_shop"
    rewritten(folder / "_corner_shop__sources.yml", "name: pieces", "name: quantity_sold")
    rewritten(folder / "base_corner_shop__receipts.sql", "pieces", "quantity_sold")
    rewritten(folder / "base_corner_shop__receipts.yml", "name: pieces", "name: quantity_sold")
    rewritten(folder / "stg_corner_shop__order_lines.sql", "pieces as quantity", "quantity_sold as quantity")
    rewritten(folder / "base_corner_shop__receipts_unit_tests.yml", "pieces", "quantity_sold")
    run(checkout, home, "refresh")

    lines, euros = len((export / "receipts.csv").read_bytes().splitlines()) - 1, "sum(net_sales)"
    ((rows, sales),) = home.query(f"select count(*), {euros} from marts.order_lines")
    assert rows == lines
    assert home.query("select count(*), count(distinct region) from marts.customer_360") == [(45, 3)]
    assert home.query("select distinct department from marts.products where product_id != 'unknown' order by 1") == [
        ("Haushalt",),
        ("Lebensmittel",),
    ]
    assert home.query("select count(*) from marts.campaigns") == [(0,)]
    assert home.query(f"select {euros} from marts.kpi_daily") == [(sales,)]
    # What identifies a client has not left raw.
    publication = home.store.current()
    assert publication is not None
    for table in publication.tables:
        text = home.query(f"select string_agg(entry::varchar, ' ') from marts.{table.table_name} as entry")[0][0] or ""
        assert "canary" not in text.lower(), table.table_name


def test_its_unit_tests_pass(checkout: Path, tmp_path: Path) -> None:
    folder = checkout / "dbt_project"
    assert (folder / "models" / "staging" / "corner_shop").is_dir(), "the walk has laid it out"
    outcome = subprocess.run(
        [
            *(
                dbt_executable(),
                "build",
                "--select",
                "base_corner_shop__receipts,test_type:unit",
            ),
            *("--vars", '{"source": "corner_shop"}', "--target-path", str(tmp_path / "target")),
        ],
        cwd=folder,
        env={**Home(tmp_path).environment(), **Home(tmp_path).settings.dbt_environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout
