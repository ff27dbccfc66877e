"""Conventions of the house, as tests that name the offender."""

import ast
import re
from pathlib import Path
from typing import Any

import yaml

from orchestration.settings import DBT_PROJECT_DIR, PROJECT_ROOT

MODELS = DBT_PROJECT_DIR / "models"
SQL_MODELS = sorted(MODELS.rglob("*.sql"))


def _described() -> dict[str, dict[str, Any]]:
    described = {}
    for path in [*MODELS.rglob("*.yml"), *(DBT_PROJECT_DIR / "seeds").glob("*.yml")]:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        for node in [*content.get("models", []), *content.get("seeds", [])]:
            described[node["name"]] = node
    return described


def _imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return modules


def test_every_model_has_a_description_of_itself_and_of_every_column_beside_it() -> None:
    described = _described()
    offenders = []
    for path in SQL_MODELS:
        node = described.get(path.stem, {})
        beside = path.with_suffix(".yml").exists()
        columns = node.get("columns", [])
        if not (beside and node.get("description") and columns and all(c.get("description") for c in columns)):
            offenders.append(str(path.relative_to(PROJECT_ROOT)))
    assert offenders == []
    models = {path.stem for path in SQL_MODELS} | {path.stem for path in (DBT_PROJECT_DIR / "seeds").glob("*.csv")}
    assert set(described) - models == set(), "described, but there is no such model"


def test_models_are_named_for_their_layer() -> None:
    offenders = []
    for path in SQL_MODELS:
        layer, *rest = path.relative_to(MODELS).parts
        if layer == "staging":
            fits = re.fullmatch(rf"(base|stg)_{rest[0]}__\w+", path.stem)
        elif layer == "core":
            fits = re.fullmatch(r"core_\w+", path.stem)
        else:
            fits = re.fullmatch(r"(?!core_|stg_|base_)\w+", path.stem)
        if not fits:
            offenders.append(str(path.relative_to(PROJECT_ROOT)))
    assert offenders == []


def test_only_base_models_read_raw_tables() -> None:
    offenders = [
        str(path.relative_to(PROJECT_ROOT))
        for path in SQL_MODELS
        for source in re.findall(r"source\('(\w+)'", path.read_text(encoding="utf-8"))
        if source not in {"control", "scores"} and "staging" not in path.parts
    ]
    assert offenders == []


def test_layers_look_one_way() -> None:
    order = {"staging": 0, "core": 1, "features": 2, "marts": 3}
    layer_of = {path.stem: path.relative_to(MODELS).parts[0] for path in SQL_MODELS}
    offenders = [
        f"{path.stem} reads {parent}"
        for path in SQL_MODELS
        for parent in re.findall(r"ref\('(\w+)'\)", path.read_text(encoding="utf-8"))
        if parent in layer_of and order[layer_of[parent]] > order[layer_of[path.stem]]
    ]
    assert offenders == []


def test_great_expectations_is_imported_within_checks_only() -> None:
    offenders = []
    for path in sorted((PROJECT_ROOT / "orchestration").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            if any(name.startswith("great_expectations") for name in [*names, module]):
                offenders.append(f"{path.relative_to(PROJECT_ROOT)}:{node.lineno}")
    assert offenders == []


def test_plain_modules_know_nothing_of_dagster() -> None:
    plain = ["settings", "sources", "landing", "files", "content_hash", "dbt_project", "scores", "models"]
    plain += ["databases", "extraction"]
    plain += ["portrait", "pictures", "alerts", "monitoring", "checks/monitoring"]
    plain += ["resources/publication"]
    plain += ["checks/records", "checks/expectations", "checks/landing", "checks/features", "checks/scores"]
    plain += ["checks/marts", "checks/dbt_tests"]
    offenders = [
        name
        for name in plain
        if any(module.startswith("dagster") for module in _imports(PROJECT_ROOT / "orchestration" / f"{name}.py"))
    ]
    assert offenders == []


def test_imports_run_from_orchestration_to_ml_and_nothing_pickles() -> None:
    forbidden = {
        "ml": ("dagster", "dbt", "orchestration", "mlflow", "pickle", "joblib"),
        "orchestration": ("pickle", "joblib"),
    }
    offenders = [
        f"{path.relative_to(PROJECT_ROOT)} imports {module}"
        for folder, modules in forbidden.items()
        for path in sorted((PROJECT_ROOT / folder).rglob("*.py"))
        for module in _imports(path)
        if module.split(".")[0] in modules
    ]
    assert offenders == []


# Where the CASE expression of each classification stands.
GIVEN_BY = {
    "rfm_segment": "features/customer_classes.sql",
    "lifecycle_stage": "features/customer_classes.sql",
    "purchase_pattern": "features/customer_behaviour_classes.sql",
    "needs_type": "features/customer_behaviour_classes.sql",
    "loyalty_tier": "features/customer_behaviour_classes.sql",
    "key_account_driver": "features/customer_value_classes.sql",
    "household_type": "core/core_customers.sql",
    "value_tier": "marts/customer_360_history.sql",
    "churn_risk_tier": "marts/customer_360_history.sql",
}
YES_OR_NO = ("is_key_account", "is_unprofitable")


def test_every_label_is_defined_and_every_definition_can_be_given() -> None:
    """The dictionary against the rules that give the labels: the CASE expressions, the grid and the accepted values."""
    definitions = (MODELS / "marts" / "label_definitions.sql").read_text(encoding="utf-8")
    defined: dict[str, set[str]] = {}
    for classification, label in re.findall(r"^    \(\s*'(\w+)', '(\w+)'", definitions, flags=re.MULTILINE):
        defined.setdefault(classification, set()).add(label)

    given: dict[str, set[str]] = {classification: {"true", "false"} for classification in YES_OR_NO}
    for classification, path in GIVEN_BY.items():
        sql = (MODELS / path).read_text(encoding="utf-8")
        (rules,) = re.findall(rf"case\n((?:(?!case\n).)*?)end as {classification}\b", sql, flags=re.DOTALL)
        given[classification] = set(re.findall(r"(?:then|else) '(\w+)'", rules))
    grid = (DBT_PROJECT_DIR / "seeds" / "rfm_grid.csv").read_text(encoding="utf-8").split()[1:]
    given["rfm_segment"] |= {row.split(",")[2] for row in grid}
    assert defined == given

    described, tested = _described(), set()
    for model in (*{Path(path).stem for path in GIVEN_BY.values()}, "customer_360"):
        for column in described[model]["columns"]:
            if column["name"] in defined and column["data_type"] == "varchar":
                for test in column.get("data_tests", []):
                    tested.add(column["name"])
                    assert set(test["accepted_values"]["arguments"]["values"]) == defined[column["name"]], model
    assert tested == set(GIVEN_BY)


def test_every_classification_of_customer_360_is_in_the_dictionary() -> None:
    """A column of customer_360 that names the dictionary, and no other, is defined by it."""
    definitions = (MODELS / "marts" / "label_definitions.sql").read_text(encoding="utf-8")
    columns = {column["name"]: column["description"] for column in _described()["customer_360"]["columns"]}
    named = {name for name, description in columns.items() if "label_definitions" in description}
    assert named == set(GIVEN_BY) | {"is_key_account"}
    assert all(f"'{name}', '" in definitions for name in named)
