"""A source of one's own: lays out its folder of staging SQL from a worked example, and lets dbt know of it.

The example is `new_source/`: an invented shop whose export has other tables, names and formats than the contract. What
is laid out runs as it is on the example's files; one's own tables take its place file by file.
"""

import re
import shutil
from pathlib import Path

import yaml

from orchestration.settings import DBT_PROJECT_DIR, STAGING_DIR, SettingsError

TEMPLATE_DIR = Path(__file__).with_name("new_source")
TEMPLATE = "new_source"
# Words of SQL, and folders and words that the project gives another meaning.
RESERVED = {"core", "features", "marts", "staging", "raw", "control", "scores", "vault", "landing", "source", TEMPLATE}
LONGEST = 30
# After the last source's line, wherever dbt_project.yml enables folders by the variable `source`.
ENABLED = """\
      {name}:
        +enabled: "{{{{ var('source', 'complete_journey') == '{name}' }}}}"
"""
AFTER = ENABLED.format(name="contract")
# For `make lint`, which sees the models of another source than the usual one by this alone.
LINT = """\
# What lint needs to see the models of the source {name}, which are disabled while another source is in use.
[sqlfluff:templater:dbt:context]
source = {name}
"""
PLACES = ("models", "sources", "data_tests")


def lay_out(name: str) -> list[Path]:
    """Makes the folder of a new source.

    Args:
        name: Of the source: small letters, digits and single underscores, a letter first.

    Returns:
        What was made or changed, the declaration of the source first.

    Raises:
        SettingsError: The name cannot be used, there is such a source, or dbt_project.yml was changed so that there is
            no place for it. Nothing has been made then.
    """
    if not re.fullmatch(r"[a-z]([a-z0-9]|_(?!_))*[a-z0-9]", name) or len(name) > LONGEST:
        raise SettingsError(
            f"{name!r} cannot name a source; give 2 to {LONGEST} small letters, digits and single underscores, a letter"
            " first, for example NAME=corner_shop"
        )
    if name in RESERVED:
        raise SettingsError(
            f"{name!r} cannot name a source: the project uses it for something else. Give another NAME="
        )
    folder = STAGING_DIR / name
    if folder.exists():
        raise SettingsError(f"{folder} is there already. Give another NAME=, or remove the folder first")
    project = DBT_PROJECT_DIR / "dbt_project.yml"
    enabling = _enabling(project.read_text(encoding="utf-8"), name, project)

    building = folder.with_name(f".{name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    for path in sorted(TEMPLATE_DIR.glob("*.*")):
        text = path.read_text(encoding="utf-8").replace(TEMPLATE, name)
        (building / path.name.replace(TEMPLATE, name)).write_text(text, encoding="utf-8")
    lint = DBT_PROJECT_DIR / f"{name}.sqlfluff"
    lint.write_text(LINT.format(name=name), encoding="utf-8")
    project.write_text(enabling, encoding="utf-8")
    building.rename(folder)
    declaration = folder / f"_{name}__sources.yml"
    return [declaration, *(path for path in sorted(folder.iterdir()) if path != declaration), lint, project]


def _enabling(text: str, name: str, project: Path) -> str:
    """The project's YAML with the folder of the source enabled where the variable `source` names it."""
    changed = text
    if f"\n      {name}:\n" not in text:  # a folder that was removed may have left its lines
        changed = text.replace(AFTER, AFTER + ENABLED.format(name=name))
    nodes = yaml.safe_load(changed)
    for place in PLACES:
        if name not in nodes.get(place, {}).get("customer360", {}).get("staging", {}):
            raise SettingsError(
                f"{project} has no place under {place} to enable staging/{name}; put the lines for the source"
                f" contract back there:\n{AFTER}"
            )
    return changed
