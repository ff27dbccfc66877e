"""Models and what they say: gate 2, then for each model its training with gate 3, then its scores with their gate.

A refresh trains a model where its age or its monitoring asks for it; `ml` decides whether the challenger may score.
Where it may not, the champion stays, and where there is none the scores are NULL. Last, all of them are watched.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

import duckdb
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckKey,
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
    asset_check,
    multi_asset_check,
)

from ml.artefact import ArtefactError
from orchestration.assets.warehouse import relation_key
from orchestration.checks.asset_checks import asset_check_result, is_asked
from orchestration.checks.dbt_tests import required_tests
from orchestration.checks.features import features_suites, read_profiles
from orchestration.checks.monitoring import monitoring_suites, read_monitoring
from orchestration.checks.records import CheckResult, reasons_not_to_publish, record
from orchestration.checks.scores import GATE, SUITES, profile_scores
from orchestration.markdown import markdown_picture, markdown_table
from orchestration.models import Model, lacking, models
from orchestration.monitoring import MONITORING, WATCHED, evidence, monitor
from orchestration.partitions import partition_day
from orchestration.pictures import picture_of_monitoring
from orchestration.policies import OWNERS, WAREHOUSE_POOL
from orchestration.resources.registry import UNREGISTERED, RegisteredModel, Registry, RegistryError
from orchestration.resources.warehouse import Warehouse
from orchestration.scores import show_scores, write_scores
from orchestration.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from ml.decision import Challenge

SHOWN_METRICS = (
    *("roc_auc", "average_precision", "r_precision", "ece", "brier", "lift_10"),
    *("wape", "mase", "bias", "coverage_80", "spearman", "normalised_gini"),
    *("recall_10", "ndcg_10", "hit_rate_10", "recall_10_new", "ndcg_10_new", "coverage_10", "novelty_10"),
)


def _incumbent(registry: Registry, model: Model, day: date, log: Callable[[str], None]) -> RegisteredModel | None:
    """The champion of an earlier day; where the registry cannot give it, what scored last is taken."""
    try:
        return registry.champion(model.name, before=day)
    except (RegistryError, ArtefactError) as error:
        log(f"{model.name}: {error}. What scored last is taken from the copy beside the warehouse")
        return registry.last_scorer(model.name, before=day)


def _beside_baselines(performance: "pd.DataFrame") -> MetadataValue[Any]:
    """A row per split and metric, the challenger with its interval, and beside it champion and baselines."""
    names = list(dict.fromkeys(performance["name"]))
    rows = []
    for (split, metric), part in performance.groupby(["split", "metric"], sort=False):
        if metric not in SHOWN_METRICS:
            continue
        found = {str(name): float(value) for name, value in zip(part["name"], part["value"], strict=True)}
        cells = [f"{found[name]:.4f}" if name in found else "" for name in names]
        if part["lower"].notna().any():
            cells[0] += f" [{part['lower'].iloc[0]:.3f}, {part['upper'].iloc[0]:.3f}]"
        rows.append((split, metric, *cells))
    return markdown_table(("on", "metric", *names), rows)


def _require_day(connection: duckdb.DuckDBPyConnection, model: Model, day: date) -> None:
    """Refuses to work for another day than the one that the features were built for: they may know later ones."""
    row = connection.execute("select as_of_date from control.refresh").fetchone()
    if row is None or row[0] != day:
        built = "no day" if row is None else row[0]
        raise Failure(
            description=f"gate features: {model.name} is asked for {day}, and the features are those of {built}."
            f" Refresh {day} as a whole: make refresh AS_OF={day}",
            allow_retries=False,
        )


def _require_gate_2(
    warehouse: Warehouse, connection: duckdb.DuckDBPyConnection, required: set[tuple[str, str]], model: Model
) -> str:
    """The content of what the model reads, for which every check on it has passed; also in a run of its own."""
    contents = warehouse.contents(connection, model.reads, {})
    unchecked = reasons_not_to_publish(connection, required, contents)
    if unchecked:
        raise Failure(
            description=f"gate features: {model.name} was not trained. " + "\n".join(unchecked), allow_retries=False
        )
    return " ".join(contents[table].content_hash for table in model.reads)


def _reasons_to_train(settings: Settings, model: Model, day: date, incumbent: RegisteredModel) -> list[str]:
    """What asks for a challenger of this champion, a sentence each.

    Raises:
        ArtefactError: The champion's file cannot be read.
    """
    reasons = []
    if settings.retrain == "always":
        reasons.append("CUSTOMER360_RETRAIN is always")
    if (age := (day - incumbent.as_of_date).days) >= settings.max_model_age_days:
        reasons.append(f"the champion was trained {age} days ago")
    if not reasons and not model.is_current(incumbent):
        reasons.append("the champion is not made as one would be made today, or decides itself whether it stays")
    return reasons or evidence(model.name, day, settings)


def _challenge(
    context: AssetExecutionContext,
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    model: Model,
    day: date,
    incumbent: RegisteredModel | None,
) -> tuple["Challenge", RegisteredModel | None]:
    """The day's challenge, and the champion if it could be read."""
    from ml.decision import Challenge, champion_kept, nothing_to_learn_from, without_challenger

    if (missing := lacking(connection, model)) is not None:
        return Challenge(nothing_to_learn_from(f"skipped: {missing}")), None
    if model.name not in settings.models.split(","):
        reason = f"skipped: {model.name} is not among the models of CUSTOMER360_MODELS"
        return Challenge(without_challenger(reason, has_champion=False)), None
    try:
        reasons = ["there is no champion"] if incumbent is None else _reasons_to_train(settings, model, day, incumbent)
        if incumbent is not None and not reasons:
            age = (day - incumbent.as_of_date).days
            kept = champion_kept(f"it was trained {age} days ago, and nothing has drifted beyond its limits")
            return Challenge(kept), incumbent
        context.log.info(f"{model.name} is challenged: {'; '.join(reasons)}")
        return model.challenge(connection, day, incumbent), incumbent
    except ArtefactError as error:  # of another version of the code: it cannot score, nor be compared with
        context.log.warning(f"{model.name}: the champion cannot be used. {error}")
        return model.challenge(connection, day, None), None


def _register(
    context: AssetExecutionContext, registry: Registry, model: Model, day: date, challenge: "Challenge", data_hash: str
) -> RegisteredModel | None:
    """The challenger as a version; None where there is none, or the registry cannot take it."""
    if challenge.artefact is None:
        return None
    try:
        return registry.register(
            model.name,
            day,
            challenge.artefact,
            promoted=challenge.decision.promote,
            parameters=challenge.parameters,
            metrics=_metrics(challenge.performance),
            tags={"data_hash": data_hash},
            files={"card.md": challenge.card.encode()}
            | {f"{name}.png": png for name, png in challenge.pictures.items()},
        )
    except RegistryError as error:
        context.log.warning(f"{model.name}: the challenger could not be registered. {error}")
        return None


def _train(
    context: AssetExecutionContext,
    warehouse: Warehouse,
    registry: Registry,
    settings: Settings,
    required: set[tuple[str, str]],
    model: Model,
) -> MaterializeResult[None]:
    """One day's challenge of a model, and who scores from now on."""
    from ml.decision import without_challenger

    day = partition_day(context.partition_key)
    with warehouse.connect() as connection:
        _require_day(connection, model, day)
        data_hash = _require_gate_2(warehouse, connection, required, model)
        incumbent = _incumbent(registry, model, day, context.log.warning)
        challenge, incumbent = _challenge(context, connection, settings, model, day, incumbent)
    challenger = _register(context, registry, model, day, challenge, data_hash)
    decision = challenge.decision
    if challenge.artefact is not None and challenger is None:
        # What is not in the registry cannot be found again: it does not score.
        decision = without_challenger("the challenger could not be registered", has_champion=incumbent is not None)
    scorer = {"challenger": challenger, "champion": incumbent, "nobody": None}[decision.scores]
    is_kept = challenge.artefact is None and decision.scores == "champion" and not challenge.card
    card = registry.last_card(model.name, before=day) if is_kept else challenge.card
    registry.keep_for(model.name, day, decision, scorer, card)

    said = "; ".join(decision.reasons)
    context.log.info(f"{model.name}: scored by {decision.scores}. {said}")
    versions = {
        name: registered.version if registered else UNREGISTERED
        for name, registered in {"challenger": challenger, "champion": incumbent}.items()
    }
    performance = challenge.performance.assign(
        model=model.name, version=[versions.get(name, name) for name in challenge.performance["name"]]
    ).drop(columns="name")
    result = CheckResult(
        GATE,
        f"{model.name}_challenger_is_promoted",
        f"models.{model.name}",
        decision.promote or not decision.challenged,
        "warn",
        message=said,
    )
    with warehouse.connect() as connection:
        write_scores(connection, "performance", model.name, day, [performance], settings.scores_dir)
        show_scores(connection, settings.scores_dir, day)
        record(connection, [result], run_id=context.run_id, as_of_date=day)
    metadata: dict[str, Any] = {
        "scored_by": decision.scores,
        "version": scorer.version if scorer else "none",
        "gate": MetadataValue.md("\n".join(f"- {reason}" for reason in decision.reasons)),
    }
    if challenge.performance["metric"].isin(SHOWN_METRICS).any():
        metadata["measured"] = _beside_baselines(challenge.performance)
    if card:
        metadata["model_card"] = MetadataValue.md(card)
    metadata |= {name: markdown_picture(png) for name, png in challenge.pictures.items()}
    return MaterializeResult(metadata=metadata)


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
            _require_day(connection, model, day)
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
            "version": scorer.version if scorer else "none: no model may score",
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

    watched = [model for model in known if model.name in WATCHED]
    assets.append(_monitoring(settings, watched, partitions))

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
        can_subset=True,
        pool=WAREHOUSE_POOL,
    )
    def features_gate(context: AssetCheckExecutionContext, warehouse: Warehouse) -> Iterator[AssetCheckResult]:
        """Gate 2: blocks training."""
        with warehouse.connect() as connection:
            (day,) = connection.execute("select as_of_date from control.refresh").fetchall()[0]
            contents = warehouse.contents(connection, suites, {})
            for suite, frame in zip(suites.values(), read_profiles(connection, day), strict=True):
                if not is_asked(context, relation_key(suite.table_name)):
                    continue
                results = suite.validate(frame, contents[suite.table_name].content_hash)
                record(connection, results, run_id=context.run.run_id, as_of_date=day)
                yield asset_check_result(context, results, relation_key(suite.table_name), "features_gate")

    @multi_asset_check(
        name="monitoring_gate",
        specs=[
            AssetCheckSpec(
                f"{suite.name}_gate",
                asset=relation_key(suite.table_name),
                description="Drift of features and scores, and skill against the hold-out, within their limits.",
                blocking=suite.severity == "error",
            )
            for suite in monitoring_suites(settings)
        ],
        can_subset=True,
        pool=WAREHOUSE_POOL,
    )
    def monitoring_gate(context: AssetCheckExecutionContext, warehouse: Warehouse) -> Iterator[AssetCheckResult]:
        """What the models in force show: beyond one limit it warns, beyond the other it blocks publication."""
        with warehouse.connect() as connection:
            (day,) = connection.execute("select as_of_date from control.refresh").fetchall()[0]
            frame = read_monitoring(connection, day, [model.name for model in watched])
            for suite in monitoring_suites(settings):
                key = AssetCheckKey(relation_key(suite.table_name), f"{suite.name}_gate")
                if key not in context.selected_asset_check_keys:
                    continue
                content = warehouse.contents(connection, [suite.table_name], {})[suite.table_name]
                results = suite.validate(frame, content.content_hash)
                record(connection, results, run_id=context.run.run_id, as_of_date=day)
                yield asset_check_result(context, results, relation_key(suite.table_name), f"{suite.name}_gate")

    # Scores one by one: who reads another model's waits for their gate alone.
    return assets, [features_gate, *(_scores_gate(model) for model in known), monitoring_gate]


def _scores_gate(model: Model) -> AssetChecksDefinition:
    suite = SUITES[model.name]

    @asset_check(
        asset=relation_key(suite.table_name),
        name="scores_gate",
        description="One for whom one is due, all or none, sane as a whole, by Great Expectations.",
        blocking=True,
        pool=WAREHOUSE_POOL,
    )
    def scores_gate(context: AssetCheckExecutionContext, warehouse: Warehouse) -> AssetCheckResult:
        """Gate 3 on scores: blocks the marts."""
        with warehouse.connect() as connection:
            (day,) = connection.execute("select as_of_date from control.refresh").fetchall()[0]
            content = warehouse.contents(connection, [suite.table_name], {})[suite.table_name]
            results = suite.validate(profile_scores(connection, model.name, day), content.content_hash)
            record(connection, results, run_id=context.run.run_id, as_of_date=day)
            return asset_check_result(context, results, relation_key(suite.table_name), "scores_gate")

    return scores_gate


def _monitoring(settings: Settings, watched: list[Model], partitions: PartitionsDefinition) -> AssetsDefinition:
    """How the models in force do."""

    @asset(
        key=["scores", MONITORING],
        deps=[["scores", model.name] for model in watched],
        partitions_def=partitions,
        group_name="models",
        kinds={"parquet"},
        owners=OWNERS,
        description="Drift of features and scores, and what became of earlier scores, beside their limits.",
        pool=WAREHOUSE_POOL,
    )
    def monitoring(context: AssetExecutionContext, warehouse: Warehouse, registry: Registry) -> MaterializeResult[None]:
        day = partition_day(context.partition_key)
        with warehouse.connect() as connection:
            for model in watched:
                _require_day(connection, model, day)
                scorer = registry.scorer(model.name, day)
                found = monitor(connection, model.name, day, scorer, settings).assign(model=model.name)
                write_scores(connection, MONITORING, model.name, day, [found], settings.scores_dir)
            show_scores(connection, settings.scores_dir, day)
            beyond = connection.execute(
                "select model, kind, metric, round(value, 3), round(coalesce(expected, warn_limit), 3), status"
                f" from scores.{MONITORING} where refresh_date = $day and status != 'ok' order by all",
                {"day": day},
            ).fetchall()
            (rows,) = connection.execute(
                f"select count(*) from scores.{MONITORING} where refresh_date = $day", {"day": day}
            ).fetchall()[0]
            png = picture_of_monitoring(connection, day)
        header = ("model", "kind", "of", "value", "expected or limit", "status")
        metadata: dict[str, Any] = {"dagster/row_count": rows, "beyond_limits": markdown_table(header, beyond)}
        return MaterializeResult(metadata=metadata if png is None else {**metadata, "picture": markdown_picture(png)})

    return monitoring


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
        kinds={"python", "mlflow"},
        owners=OWNERS,
        description=f"{model.description} It scores only if gate 3 lets it, else the champion stays.",
        pool=WAREHOUSE_POOL,
    )
    def train(context: AssetExecutionContext, warehouse: Warehouse, registry: Registry) -> MaterializeResult[None]:
        return _train(context, warehouse, registry, settings, required, model)

    @asset(
        key=["scores", model.name],
        deps=[["models", model.name], *(["scores", name] for name in model.reads_scores), *reads],
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
