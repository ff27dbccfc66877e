"""Models and what they say: gate 2, then for each model its training with gate 3, then its scores with their gate.

A refresh trains every model anew; `ml` decides whether the challenger may score. Where it may not, the champion stays,
and where there is none the scores are NULL.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetsDefinition,
    AssetSpec,
    Failure,
    MaterializeResult,
    MetadataValue,
    PartitionsDefinition,
    asset,
    multi_asset_check,
)

from ml.artefact import ArtefactError
from orchestration.assets.warehouse import raw_hashes, relation_key
from orchestration.checks.asset_checks import asset_check_result
from orchestration.checks.dbt_tests import required_tests
from orchestration.checks.features import features_suites, read_profiles
from orchestration.checks.records import CheckResult, reasons_not_to_publish, record, relation_contents
from orchestration.checks.scores import GATE, SUITES, profile_scores
from orchestration.markdown import markdown_table
from orchestration.models import Model, models
from orchestration.partitions import partition_day
from orchestration.policies import OWNERS, WAREHOUSE_POOL
from orchestration.resources.registry import UNREGISTERED, RegisteredModel, Registry, RegistryError
from orchestration.resources.warehouse import Warehouse
from orchestration.scores import show_scores, write_scores
from orchestration.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


def _incumbent(registry: Registry, model: Model, day: date, log: Callable[[str], None]) -> RegisteredModel | None:
    """The champion of an earlier day; where the registry cannot give it, what scored last is taken."""
    try:
        return registry.champion(model.name, before=day)
    except (RegistryError, ArtefactError) as error:
        log(f"{model.name}: {error}. What scored last is taken from the copy beside the warehouse")
        return registry.last_scorer(model.name, before=day)


def _picture(png: bytes) -> MetadataValue[Any]:
    return MetadataValue.md(f"![picture](data:image/png;base64,{base64.b64encode(png).decode()})")


def _beside_baselines(performance: "pd.DataFrame") -> MetadataValue[Any]:
    """Metrics of the model and the baselines, a row each, with their intervals."""
    shown = [name for name in SHOWN_METRICS if name in set(performance["metric"])]
    rows = []
    for (name, split), part in performance.groupby(["name", "split"], sort=False):
        by_metric = part.set_index("metric")
        cells = []
        for metric in shown:
            if metric not in by_metric.index:
                cells.append("")
                continue
            found = by_metric.loc[metric]
            interval = f" [{found['lower']:.3f}, {found['upper']:.3f}]" if found["lower"] == found["lower"] else ""
            cells.append(f"{found['value']:.4f}{interval}")
        rows.append((name, split, *cells))
    return markdown_table(("", "on", *shown), rows)


SHOWN_METRICS = ("roc_auc", "average_precision", "ece", "brier", "lift_10", "wape", "mase", "bias", "coverage_80")


def _train(
    context: AssetExecutionContext,
    warehouse: Warehouse,
    registry: Registry,
    settings: Settings,
    required: set[tuple[str, str]],
    model: Model,
) -> MaterializeResult[None]:
    """One day's challenge of a model, and who scores from now on."""
    from ml.challenge import Challenge
    from ml.promotion import without_challenger

    day = partition_day(context.partition_key)
    with warehouse.connect() as connection:
        contents = relation_contents(connection, {table for _, table in required}, raw_hashes(settings))
        unchecked = reasons_not_to_publish(connection, required, contents)
        if unchecked:
            raise Failure(
                description=f"gate features: {model.name} was not trained. " + "\n".join(unchecked), allow_retries=False
            )
        incumbent = _incumbent(registry, model, day, context.log.warning)
        if model.name in settings.models.split(","):
            try:
                challenge = model.challenge(connection, day, incumbent)
            except ArtefactError as error:  # of another version of the code: it cannot score, nor be compared with
                context.log.warning(f"{model.name}: the champion cannot be used. {error}")
                incumbent = None
                challenge = model.challenge(connection, day, None)
        else:
            reason = f"skipped: {model.name} is not among the models of CUSTOMER360_MODELS"
            challenge = Challenge(without_challenger(reason, has_champion=False))
            incumbent = None

    decision, challenger = challenge.decision, None
    if challenge.artefact is not None:
        try:
            challenger = registry.register(
                model.name,
                day,
                challenge.artefact,
                promoted=decision.promote,
                parameters=challenge.parameters,
                metrics=_metrics(challenge.performance),
                tags={"data_hash": " ".join(contents[table].content_hash for table in model.reads)},
                files={"card.md": challenge.card.encode(), **_png_files(challenge.pictures)},
            )
        except RegistryError as error:
            context.log.warning(str(error))
            decision = without_challenger(f"the challenger could not be registered: {error}", incumbent is not None)
    scorer = {"challenger": challenger, "champion": incumbent, "nobody": None}[decision.scores]
    registry.keep_for(model.name, day, decision, scorer, challenge.card)

    versions = {
        "challenger": challenger.version if challenger else UNREGISTERED,
        "champion": incumbent.version if incumbent else UNREGISTERED,
    }
    performance = challenge.performance.assign(
        model=model.name, version=[versions.get(name, name) for name in challenge.performance["name"]]
    )
    said = "; ".join(decision.reasons)
    context.log.info(f"{model.name}: scored by {decision.scores}. {said}")
    with warehouse.connect() as connection:
        write_scores(
            connection, "performance", model.name, day, [performance.drop(columns="name")], settings.scores_dir
        )
        show_scores(connection, settings.scores_dir, day)
        result = CheckResult(
            GATE, f"{model.name}_challenger_is_promoted", f"models.{model.name}", decision.promote, "warn", message=said
        )
        record(connection, [result], run_id=context.run_id, as_of_date=day)
    metadata: dict[str, Any] = {
        "scored_by": decision.scores,
        "version": scorer.version if scorer else "none",
        "gate": MetadataValue.md("\n".join(f"- {reason}" for reason in decision.reasons)),
    }
    if challenge.artefact is not None:
        metadata |= {
            "measured": _beside_baselines(challenge.performance),
            "model_card": MetadataValue.md(challenge.card),
        }
    return MaterializeResult(metadata=metadata | {name: _picture(png) for name, png in challenge.pictures.items()})


def _png_files(pictures: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{name}.png": png for name, png in pictures.items()}


def _metrics(performance: "pd.DataFrame") -> dict[str, float]:
    """The challenger's metrics by name, as a registry takes them; of its first split, where there are several."""
    ours = performance[performance["role"] == "challenger"]
    return {str(metric): float(value) for metric, value in zip(ours["metric"][::-1], ours["value"][::-1], strict=True)}


def _score(
    context: AssetExecutionContext, warehouse: Warehouse, registry: Registry, settings: Settings, model: Model
) -> MaterializeResult[None]:
    day = partition_day(context.partition_key)
    try:
        scorer = registry.scorer(model.name, day)
        with warehouse.connect() as connection:
            frames = model.score(connection, day, scorer)
            rows = write_scores(connection, model.name, model.name, day, frames, settings.scores_dir)
            show_scores(connection, settings.scores_dir, day)
            preview = connection.execute(f"select * from scores.{model.name} where refresh_date = ? limit 5", [day])
            table = markdown_table([name for name, *_ in preview.description or ()], preview.fetchall())
    except (RegistryError, ValueError) as error:
        raise Failure(description=f"gate models: {model.name} was not scored. {error}", allow_retries=False) from error
    return MaterializeResult(
        metadata={
            "dagster/row_count": rows,
            "version": scorer.version if scorer else "none: scores are NULL",
            "preview": table,
        }
    )


def build_models(
    settings: Settings, manifest: Mapping[str, Any], partitions: PartitionsDefinition
) -> tuple[list[AssetsDefinition | AssetSpec], list[AssetChecksDefinition]]:
    """The assets of models and scores, and their gates."""
    known = models(settings)
    suites = {suite.table_name: suite for suite in features_suites(settings)}
    assets: list[AssetsDefinition | AssetSpec] = []
    for model in known:
        assets += _assets_of(model, settings, manifest, partitions)
    assets.append(
        AssetSpec(
            ["scores", "performance"],
            deps=[["models", model.name] for model in known],
            group_name="models",
            owners=OWNERS,
            description="What was measured of each model and its baselines; training writes it.",
        )
    )

    @multi_asset_check(
        name="features_gate",
        specs=[
            AssetCheckSpec(
                "features_gate",
                asset=relation_key(suite.table_name),
                description="Like the cut-off before, and finite, by Great Expectations.",
                blocking=True,
            )
            for suite in suites.values()
        ],
        pool=WAREHOUSE_POOL,
    )
    def features_gate(context: AssetCheckExecutionContext, warehouse: Warehouse) -> Iterator[AssetCheckResult]:
        """Gate 2: blocks training."""
        with warehouse.connect() as connection:
            (day,) = connection.execute("select as_of_date from control.refresh").fetchall()[0]
            contents = relation_contents(connection, suites, {})
            for suite, frame in zip(suites.values(), read_profiles(connection, day), strict=True):
                results = suite.validate(frame, contents[suite.table_name].content_hash)
                record(connection, results, run_id=context.run.run_id, as_of_date=day)
                yield asset_check_result(context, results, relation_key(suite.table_name), "features_gate")

    @multi_asset_check(
        name="scores_gate",
        specs=[
            AssetCheckSpec(
                "scores_gate",
                asset=relation_key(SUITES[model.name].table_name),
                description="One for whom one is due, all or none, sane as a whole, by Great Expectations.",
                blocking=True,
            )
            for model in known
        ],
        pool=WAREHOUSE_POOL,
    )
    def scores_gate(context: AssetCheckExecutionContext, warehouse: Warehouse) -> Iterator[AssetCheckResult]:
        """Gate 3 on scores: blocks the marts."""
        with warehouse.connect() as connection:
            (day,) = connection.execute("select as_of_date from control.refresh").fetchall()[0]
            for model in known:
                suite = SUITES[model.name]
                content = relation_contents(connection, [suite.table_name], {})[suite.table_name]
                results = suite.validate(profile_scores(connection, model.name, day), content.content_hash)
                record(connection, results, run_id=context.run.run_id, as_of_date=day)
                yield asset_check_result(context, results, relation_key(suite.table_name), "scores_gate")

    return assets, [features_gate, scores_gate]


def _assets_of(
    model: Model, settings: Settings, manifest: Mapping[str, Any], partitions: PartitionsDefinition
) -> list[AssetsDefinition]:
    """Training and scores of one model."""
    reads = [relation_key(table) for table in model.reads]
    gate = {(name, suite.table_name) for suite in features_suites(settings) for name in suite.check_names}
    required = {check for check in required_tests(manifest) | gate if check[1] in model.reads}

    @asset(
        key=["models", model.name],
        deps=reads,
        partitions_def=partitions,
        group_name="models",
        kinds={"lightgbm", "mlflow"},
        owners=OWNERS,
        description=f"{model.description} Trained anew; it scores only if gate 3 lets it, else the champion stays.",
        pool=WAREHOUSE_POOL,
    )
    def train(context: AssetExecutionContext, warehouse: Warehouse, registry: Registry) -> MaterializeResult[None]:
        return _train(context, warehouse, registry, settings, required, model)

    @asset(
        key=["scores", model.name],
        deps=[["models", model.name], *reads],
        partitions_def=partitions,
        group_name="models",
        kinds={"parquet"},
        owners=OWNERS,
        description=f"{model.description} By the model that scores on the day.",
        pool=WAREHOUSE_POOL,
    )
    def scores(context: AssetExecutionContext, warehouse: Warehouse, registry: Registry) -> MaterializeResult[None]:
        return _score(context, warehouse, registry, settings, model)

    return [train, scores]
