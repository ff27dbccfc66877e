"""Laying out a source: what is made, and what is refused with nothing made."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import orchestration.source_layout as layout
import orchestration.sources as sources
from orchestration.settings import DBT_PROJECT_DIR, SettingsError
from orchestration.source_layout import PLACES, TEMPLATE_DIR, lay_out

ENTITIES = (
    *("customers", "orders", "order_lines", "products", "campaigns", "campaign_members", "campaign_offers"),
    *("campaign_responses", "product_promotions"),
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A dbt project with the real file of settings and no source."""
    (tmp_path / "models" / "staging").mkdir(parents=True)
    (tmp_path / "dbt_project.yml").write_bytes((DBT_PROJECT_DIR / "dbt_project.yml").read_bytes())
    monkeypatch.setattr(layout, "DBT_PROJECT_DIR", tmp_path)
    monkeypatch.setattr(layout, "STAGING_DIR", tmp_path / "models" / "staging")
    monkeypatch.setattr(sources, "STAGING_DIR", tmp_path / "models" / "staging")
    yield tmp_path


def test_a_source_is_laid_out_and_enabled(project: Path) -> None:
    before = yaml.safe_load((project / "dbt_project.yml").read_text())
    made = lay_out("corner_shop")
    folder = project / "models" / "staging" / "corner_shop"
    assert made[0] == folder / "_corner_shop__sources.yml" and made[-1] == project / "dbt_project.yml"
    # `make lint` goes by these files, of which the contract has its own.
    assert (project / "corner_shop.sqlfluff").read_text() == (
        (DBT_PROJECT_DIR / "contract.sqlfluff").read_text().replace("contract", "corner_shop")
    )
    assert len(list(folder.iterdir())) == len(list(TEMPLATE_DIR.glob("*.*")))
    for path in folder.iterdir():
        assert "new_source" not in path.name + path.read_text(encoding="utf-8"), path
    for entity in ENTITIES:
        assert {path.suffix for path in folder.glob(f"stg_corner_shop__{entity}.*")} == {".sql", ".yml"}

    nodes = yaml.safe_load((project / "dbt_project.yml").read_text())
    for place in PLACES:
        enabled = nodes[place]["customer360"]["staging"].pop("corner_shop")
        assert enabled == {"+enabled": "{{ var('source', 'complete_journey') == 'corner_shop' }}"}
    assert nodes == before

    source = sources.load_source("corner_shop")
    assert source.orders.customer == "client_no" and "campaigns" in source.lacks


def test_two_sources_stand_beside_each_other(project: Path) -> None:
    lay_out("shop_a")
    lay_out("shop_b")
    staging = yaml.safe_load((project / "dbt_project.yml").read_text())["models"]["customer360"]["staging"]
    assert {"contract", "shop_a", "shop_b"} <= set(staging)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x",
        "Shop",
        "1shop",
        "_shop",
        "shop_",
        "my__shop",
        "my-shop",
        "../core",
        "shop/x",
        "a" * 31,
        "käse",
        "shop\n",
    ],
)
def test_a_name_that_cannot_be_used(project: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(f"{name!r} cannot name a source; give 2 to 30 small")):
        lay_out(name)
    assert list((project / "models" / "staging").iterdir()) == []


@pytest.mark.parametrize("name", ["core", "raw", "landing", "new_source"])
def test_a_name_that_means_something_else(project: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="the project uses it for something else"):
        lay_out(name)


def test_a_source_that_is_there_stays_as_it_is(project: Path) -> None:
    folder = project / "models" / "staging" / "corner_shop"
    folder.mkdir()
    (folder / "mine.sql").write_text("select 1")
    with pytest.raises(SettingsError, match="is there already"):
        lay_out("corner_shop")
    assert (folder / "mine.sql").read_text() == "select 1"


def test_a_folder_that_was_removed_can_be_laid_out_again(project: Path) -> None:
    lay_out("corner_shop")
    text = (project / "dbt_project.yml").read_text()
    folder = project / "models" / "staging" / "corner_shop"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    lay_out("corner_shop")
    assert (project / "dbt_project.yml").read_text() == text


def test_a_project_file_without_a_place_for_it(project: Path) -> None:
    file = project / "dbt_project.yml"
    text = file.read_text().replace("== 'contract'", "== 'ours'")
    file.write_text(text)
    with pytest.raises(SettingsError, match="has no place under models to enable staging/corner_shop"):
        lay_out("corner_shop")
    assert file.read_text() == text
    assert list((project / "models" / "staging").iterdir()) == []
