"""The model registry: MLflow, and beside it a copy of what scores on each day, so that scoring needs no server.

Versions are found by what they knew: for a day, the champion is one that was promoted on an earlier day, so rebuilding
an old day never asks a model that has seen later ones. A version's SHA-256 is checked before it is parsed.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from dagster import ConfigurableResource
from pydantic import Field

from ml.artefact import ArtefactError, sha256_of
from orchestration.files import fsync, replace_durably
from orchestration.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from ml.decision import Decision

CHAMPION = "champion"
MODEL_FILE, CARD_FILE, RECORD_FILE = "model.json", "card.md", "record.json"
UNREGISTERED = "unregistered"
INSTEAD_OF = "instead_of"  # tag: the version that was the champion before
AGAIN = "train it again: make refresh with CUSTOMER360_RETRAIN=always"
HEADLINE_METRICS = (
    "roc_auc",
    "average_precision",
    "lift_10",
    "ece",
    "wape",
    "mase",
    "spearman",
    "normalised_gini",
    "silhouette",
    "stability",
    "coverage_80",
    "recall_10",
    "ndcg_10",
)


class RegistryError(Exception):
    """The registry cannot be used: why, and what to do."""


@dataclass(frozen=True)
class RegisteredModel:
    """A version of a model, its content checked.

    Attributes:
        version: In the registry.
        as_of_date: The day that it was trained for.
        sha256: Of its file.
        content: The file.
    """

    version: str
    as_of_date: date
    sha256: str
    content: bytes


@dataclass(frozen=True)
class DayRecord:
    """Who scores on a day, and why.

    Attributes:
        scores: challenger, champion or nobody.
        version: Of the model that scores; None where nobody does.
        trained_as_of: The day that it was trained for, ISO text.
        sha256: Of its file.
        reasons: A sentence each.
    """

    scores: str
    version: str | None
    trained_as_of: str | None
    sha256: str | None
    reasons: tuple[str, ...]


class Registry(ConfigurableResource["Registry"]):
    """Versions of the models of one source."""

    tracking_uri: str = Field(description="Where MLflow keeps its records: a SQLite file, or a server.")
    artifact_dir: str = Field(description="Where model files go if MLflow runs on SQLite; a server has its own place.")
    folder: str = Field(description="Copies of what scores on each day.")
    prefix: str = Field(description="Source; models of several sources may share a registry.")
    keep_days: int = Field(description="Days whose copies stay.")

    def name_of(self, model: str) -> str:
        """The name of a model in MLflow."""
        return f"{self.prefix}.{model}"

    @property
    def _sqlite_file(self) -> Path | None:
        prefix = "sqlite:///"
        return Path(self.tracking_uri.removeprefix(prefix)) if self.tracking_uri.startswith(prefix) else None

    @property
    def is_empty(self) -> bool:
        """Whether there is surely nothing in it: its SQLite file does not exist."""
        return self._sqlite_file is not None and not self._sqlite_file.exists()

    @contextmanager
    def _client(self) -> Iterator["MlflowClient"]:
        """MLflow; whatever goes wrong with it is one kind of error."""
        try:
            from mlflow import MlflowClient

            if self._sqlite_file is not None:
                self._sqlite_file.parent.mkdir(parents=True, exist_ok=True)
            yield MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)
        except (ArtefactError, RegistryError):
            raise
        except Exception as error:  # MLflow lets through what its store, its client and the network raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise RegistryError(
                f"the model registry at {self.tracking_uri} cannot be used: {reason}. See that it runs, or set"
                " MLFLOW_TRACKING_URI"
            ) from error

    def champion(self, model: str, before: date) -> RegisteredModel | None:
        """The version to beat on a day: the alias, or the newest one that was promoted on an earlier day.

        Raises:
            RegistryError: The registry cannot be reached.
            ArtefactError: The file is not the one that was registered.
        """
        if self.is_empty:
            return None
        with self._client() as client:
            versions = self._versions(client, model)
            promoted = [
                version for version in versions if _day_of(version) < before and version.tags.get("promoted") == "true"
            ]
            chosen = _named_before(versions, before) or max(promoted, key=_by_age, default=None)
            return None if chosen is None else _download(client, chosen)

    def _versions(self, client: "MlflowClient", model: str) -> list["ModelVersion"]:
        name = self.name_of(model)
        if not client.search_registered_models(f"name = '{name}'"):
            return []
        aliases = client.get_registered_model(name).aliases
        found, token = [], None
        while True:
            page = client.search_model_versions(f"name = '{name}'", max_results=1000, page_token=token)
            for version in page:
                version.aliases = [alias for alias, number in aliases.items() if str(number) == str(version.version)]
                if "as_of_date" in version.tags:
                    found.append(version)
            token = page.token
            if not token:
                return found

    def register(
        self,
        model: str,
        day: date,
        content: bytes,
        *,
        promoted: bool,
        parameters: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Mapping[str, bytes],
    ) -> RegisteredModel:
        """Registers a challenger, and makes it the champion if it was promoted and no later day has one.

        Registering the same content for the same day again gives the same version. What the day's newest run says
        counts: what an earlier one promoted, say one that was killed, is withdrawn where this one is not promoted.

        Raises:
            RegistryError: The registry cannot be reached.
        """
        name, sha256 = self.name_of(model), sha256_of(content)
        with self._client() as client:
            known = self._versions(client, model)
            same = [v for v in known if _day_of(v) == day and v.tags.get("sha256") == sha256]
            if same:
                version = same[-1].version
                if promoted:
                    client.set_model_version_tag(name, version, "promoted", "true")
            else:
                described = {"as_of_date": day.isoformat(), "sha256": sha256, "promoted": str(promoted).lower()}
                run_id, source = self._log_run(client, name, day, content, parameters, metrics, tags, files)
                if not client.search_registered_models(f"name = '{name}'"):
                    client.create_registered_model(name)
                version = client.create_model_version(name, source, run_id, tags={**tags, **described}).version
            named = [v for v in known if CHAMPION in v.aliases]
            if not promoted:
                self._withdraw(client, name, [v for v in known if _day_of(v) == day], known)
            elif day >= max(map(_day_of, named), default=day):
                for before in named:
                    number = before.tags.get(INSTEAD_OF) if _day_of(before) == day else before.version
                    if number is not None:
                        client.set_model_version_tag(name, version, INSTEAD_OF, str(number))
                client.set_registered_model_alias(name, CHAMPION, version)
        return RegisteredModel(str(version), day, sha256, content)

    def _withdraw(
        self, client: "MlflowClient", name: str, withdrawn: Sequence["ModelVersion"], known: Sequence["ModelVersion"]
    ) -> None:
        """Takes back that versions were promoted; the alias returns to whom it was taken from, also by hand."""
        numbers = {str(version.version) for version in known}
        for version in withdrawn:
            if version.tags.get("promoted") != "true":
                continue
            before = version.tags.get(INSTEAD_OF)
            for other in known:
                if other.tags.get(INSTEAD_OF) == str(version.version):
                    client.set_model_version_tag(name, other.version, INSTEAD_OF, before or "")
            if CHAMPION in version.aliases and before in numbers:
                client.set_registered_model_alias(name, CHAMPION, before)
            elif CHAMPION in version.aliases:
                client.delete_registered_model_alias(name, CHAMPION)
            client.set_model_version_tag(name, version.version, "promoted", "false")

    def _log_run(
        self,
        client: "MlflowClient",
        name: str,
        day: date,
        content: bytes,
        parameters: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Mapping[str, bytes],
    ) -> tuple[str, str]:
        from mlflow.entities import Metric, Param, RunTag

        experiment = client.get_experiment_by_name(name)
        place = (Path(self.artifact_dir) / name).as_uri() if self._sqlite_file is not None else None
        experiment_id = experiment.experiment_id if experiment else client.create_experiment(name, place)
        run = client.create_run(experiment_id, run_name=day.isoformat())
        run_id = run.info.run_id
        client.log_batch(
            run_id,
            metrics=[Metric(key, value, run.info.start_time, 0) for key, value in metrics.items()],
            params=[Param(key, str(value)) for key, value in parameters.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        with tempfile.TemporaryDirectory() as folder:
            for file_name, file_content in {MODEL_FILE: content, **files}.items():
                (Path(folder) / file_name).write_bytes(file_content)
            client.log_artifacts(run_id, folder)
        client.set_terminated(run_id)
        return run_id, f"{run.info.artifact_uri}/{MODEL_FILE}"

    def prune(self, models: Sequence[str], keep: int) -> int:
        """Deletes old versions with their files; the champion, the one before it, and what has scored lately stay.

        Args:
            models: Whose.
            keep: Newest versions of each that stay whatever they are.

        Returns:
            How many were deleted.

        Raises:
            RegistryError: The registry cannot be reached.
        """
        if self.is_empty:
            return 0
        count = 0
        with self._client() as client:
            for model in models:
                versions = sorted(self._versions(client, model), key=_by_age)
                for version in versions[:-keep]:
                    if str(version.version) not in self._needed(model, versions):
                        self._delete(client, model, version)
                        count += 1
        return count

    def _needed(self, model: str, versions: Sequence["ModelVersion"]) -> set[str]:
        """Versions that may be asked for again: champions by alias and gate, the ones before them, recent scorers."""
        champions = [version for version in versions if CHAMPION in version.aliases]
        promoted = [version for version in versions if version.tags.get("promoted") == "true"]
        needed = {str(version.version) for version in (*champions, *promoted[-2:])}
        needed |= {version.tags[INSTEAD_OF] for version in champions if INSTEAD_OF in version.tags}
        for champion in champions:
            before = [version for version in promoted if _by_age(version) < _by_age(champion)]
            needed |= {str(version.version) for version in before[-1:]}
        days = (path.parent.name for path in (Path(self.folder) / model).glob(f"*/{RECORD_FILE}"))
        records = (self.record_of(model, date.fromisoformat(day)) for day in days)
        return needed | {record.version for record in records if record.version is not None}

    def _delete(self, client: "MlflowClient", model: str, version: "ModelVersion") -> None:
        """A version, its run, and its files where they are ours; a server's own clean-up (`mlflow gc`) takes others."""
        run = client.get_run(str(version.run_id))
        client.delete_model_version(self.name_of(model), str(version.version))
        client.delete_run(run.info.run_id)
        folder = Path(unquote(urlsplit(run.info.artifact_uri).path)).parent
        if self._sqlite_file is not None and folder.is_relative_to(Path(self.artifact_dir)):
            shutil.rmtree(folder, ignore_errors=True)

    def damage(self, models: Sequence[str]) -> list[str]:
        """Versions and copies whose file is missing or not the one that was registered, as messages.

        Raises:
            RegistryError: The registry cannot be reached.
        """
        problems = []
        if not self.is_empty:
            with self._client() as client:
                registered = [
                    (name, version) for name in models for version in sorted(self._versions(client, name), key=_by_age)
                ]
                for model, version in registered:
                    try:
                        _download(client, version)
                    except ArtefactError as error:
                        problems.append(f"{model}: {error}; {AGAIN}")
                    except Exception as error:  # MLflow says in many ways that there is no such file
                        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                        problems.append(
                            f"{model}: the file of version {version.version} cannot be fetched ({reason}). Restore it,"
                            f" or {AGAIN}"
                        )
        for model in models:
            for path in sorted((Path(self.folder) / model).glob(f"*/{RECORD_FILE}")):
                problems += self._damaged_copy(model, date.fromisoformat(path.parent.name))
        return problems

    def _damaged_copy(self, model: str, day: date) -> Iterator[str]:
        path = self._day_folder(model, day) / MODEL_FILE
        try:
            record = self.record_of(model, day)
            if record.sha256 is not None and (not path.exists() or sha256_of(path.read_bytes()) != record.sha256):
                yield f"{path} is missing or damaged. Scoring takes the registry's; make refresh AS_OF={day} mends it"
        except RegistryError as error:
            yield str(error)

    def overview(self, models: Sequence[str]) -> list[tuple[str, ...]]:
        """A row per model: its name, who scored on the newest day, that version, and how well it did when it was tried.

        Where the registry cannot be reached, what is known without it.
        """
        return [self._overview(model) for model in models]

    def _overview(self, model: str) -> tuple[str, ...]:
        days = sorted(path.parent.name for path in (Path(self.folder) / model).glob(f"*/{RECORD_FILE}"))
        if not days:
            return (model, "nobody yet: run make refresh", "", "", "", "")
        record = self.record_of(model, date.fromisoformat(days[-1]))
        if record.version is None:
            return (model, record.scores, "", "", "", record.reasons[0])
        trained_at, measured = "", ""
        try:
            with self._client() as client:
                version = client.get_model_version(self.name_of(model), record.version)
                run = client.get_run(str(version.run_id))
                trained_at = datetime.fromtimestamp(run.info.start_time / 1000, UTC).strftime("%Y-%m-%d %H:%M")
                found = run.data.metrics
                measured = ", ".join(f"{name} {found[name]:.3f}" for name in HEADLINE_METRICS if name in found)
        except RegistryError as error:
            measured = str(error)
        return (model, record.scores, record.version, record.trained_as_of or "", trained_at, measured)

    def _day_folder(self, model: str, day: date) -> Path:
        return Path(self.folder) / model / day.isoformat()

    def keep_for(self, model: str, day: date, decision: "Decision", scorer: RegisteredModel | None, card: str) -> None:
        """Keeps what scores on a day where scoring finds it; the record is written last. Older days' copies go."""
        record = DayRecord(decision.scores, None, None, None, decision.reasons)
        if scorer is not None:
            trained = scorer.as_of_date.isoformat()
            record = DayRecord(decision.scores, scorer.version, trained, scorer.sha256, decision.reasons)
        folder = self._day_folder(model, day)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
        if scorer is not None:
            (folder / MODEL_FILE).write_bytes(scorer.content)
            fsync(folder / MODEL_FILE)
        building = folder / f"{RECORD_FILE}.building"
        building.write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
        replace_durably(building, folder / RECORD_FILE)
        kept = sorted(path for path in folder.parent.iterdir() if path.is_dir() and path != folder)
        for old in kept[: max(0, len(kept) + 1 - self.keep_days)]:
            shutil.rmtree(old)

    def record_of(self, model: str, day: date) -> DayRecord:
        """Who scores on a day.

        Raises:
            RegistryError: The model has not been trained for that day.
        """
        path = self._day_folder(model, day) / RECORD_FILE
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            return DayRecord(**{**fields, "reasons": tuple(fields["reasons"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RegistryError(
                f"nobody knows who scores {model} on {day} ({path}: {type(error).__name__}). Materialize models/{model}"
                " for that day first"
            ) from error

    def scorer(self, model: str, day: date) -> RegisteredModel | None:
        """The model that scores on a day, from the copy kept here, or the registry; None where nobody does.

        Raises:
            RegistryError: The model has not been trained for that day; or the copy is damaged, and the registry cannot
                be reached.
            ArtefactError: The copy and the registry's file are damaged.
        """
        record = self.record_of(model, day)
        if record.version is None or record.trained_as_of is None or record.sha256 is None:
            return None
        path = self._day_folder(model, day) / MODEL_FILE
        content = path.read_bytes() if path.exists() else b""
        try:
            return _checked(record.version, date.fromisoformat(record.trained_as_of), record.sha256, content, str(path))
        except ArtefactError as error:
            with self._client() as client:
                found = _download(client, client.get_model_version(self.name_of(model), record.version))
            if found.sha256 != record.sha256:
                raise error
            return found

    def last_card(self, model: str, before: date) -> str:
        """The model card of the newest earlier day; nothing where there is none."""
        cards = sorted(path for path in (Path(self.folder) / model).glob(f"*/{CARD_FILE}"))
        earlier = [path for path in cards if date.fromisoformat(path.parent.name) < before]
        return earlier[-1].read_text(encoding="utf-8") if earlier else ""

    def last_scorer(self, model: str, before: date) -> RegisteredModel | None:
        """What scored on the newest earlier day whose copy is whole: the champion, where the registry cannot say."""
        days = sorted((path.name for path in (Path(self.folder) / model).glob("*-*-*")), reverse=True)
        for name in days:
            day = date.fromisoformat(name)
            if day < before:
                try:
                    found = self.scorer(model, day)
                except (RegistryError, ArtefactError):
                    continue
                if found is not None and found.as_of_date < before:
                    return found
        return None


def registry_of(settings: Settings) -> Registry:
    """The registry of these settings."""
    return Registry(
        tracking_uri=settings.tracking_uri,
        artifact_dir=str(settings.mlflow_dir / "artifacts"),
        folder=str(settings.models_dir),
        prefix=settings.source,
        keep_days=settings.keep_versions,
    )


def _day_of(version: "ModelVersion") -> date:
    return date.fromisoformat(version.tags["as_of_date"])


def _named_before(versions: Sequence["ModelVersion"], day: date) -> "ModelVersion | None":
    """Whom the alias named before a day: who took it since then, say in a run that was killed, remembers from whom."""
    numbered = {str(version.version): version for version in versions}
    named = next((version for version in versions if CHAMPION in version.aliases), None)
    while named is not None and _day_of(named) >= day:
        named = numbered.get(named.tags.get(INSTEAD_OF, ""))
    return named


def _by_age(version: "ModelVersion") -> tuple[date, int]:
    return _day_of(version), int(version.version)


def _download(client: "MlflowClient", version: "ModelVersion") -> RegisteredModel:
    """A version's file, its content checked."""
    with tempfile.TemporaryDirectory() as folder:
        content = Path(client.download_artifacts(str(version.run_id), MODEL_FILE, folder)).read_bytes()
    return _checked(version.version, _day_of(version), version.tags["sha256"], content, "the registry")


def _checked(version: str, day: date, sha256: str, content: bytes, place: str) -> RegisteredModel:
    found = sha256_of(content)
    if found != sha256:
        raise ArtefactError(
            f"version {version} in {place} ({len(content)} bytes) is not what was registered: SHA-256 {found[:12]}…,"
            f" recorded {sha256[:12]}…. It was damaged or replaced and is not loaded"
        )
    return RegisteredModel(str(version), day, sha256, content)
