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


def test_every_label_is_defined_and_every_definition_can_be_given() -> None:
    """The dictionary against the rules that give the labels: the CASE expressions, the grid and the accepted values."""
    definitions = (MODELS / "marts" / "label_definitions.sql").read_text(encoding="utf-8")
    defined: dict[str, set[str]] = {}
    given_by = r"\(\s*'(rfm_segment|lifecycle_stage|churn_risk_tier)', '(\w+)'"
    for classification, label in re.findall(given_by, definitions):
        defined.setdefault(classification, set()).add(label)

    classes = (MODELS / "features" / "customer_classes.sql").read_text(encoding="utf-8")
    grid = (DBT_PROJECT_DIR / "seeds" / "rfm_grid.csv").read_text(encoding="utf-8").split()[1:]
    history = (MODELS / "marts" / "customer_360_history.sql").read_text(encoding="utf-8")
    (tiers,) = re.findall(r"case\n(.*?)end as churn_risk_tier", history, flags=re.DOTALL)
    segments, stages = re.findall(r"case\n(.*?)end as (?:rfm_segment|lifecycle_stage)", classes, flags=re.DOTALL)
    given = {
        "rfm_segment": set(re.findall(r"(?:then|else) '(\w+)'", segments)) | {row.split(",")[2] for row in grid},
        "lifecycle_stage": set(re.findall(r"(?:then|else) '(\w+)'", stages)),
        "churn_risk_tier": set(re.findall(r"(?:then|else) '(\w+)'", tiers)),
    }
    assert defined == given

    described = _described()
    for model in ("customer_classes", "customer_360"):
        for column in described[model]["columns"]:
            if column["name"] in defined:
                (test,) = column["data_tests"]
                assert set(test["accepted_values"]["arguments"]["values"]) == defined[column["name"]], model
