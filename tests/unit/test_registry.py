"""The registry on a real MLflow store: versions by what they knew, content that is checked, and life without it."""

import json
import signal
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from ml.artefact import ArtefactError
from ml.decision import Decision
from orchestration.resources.registry import (
    MODEL_FILE,
    RECORD_FILE,
    RegisteredModel,
    Registry,
    RegistryError,
    registry_of,
)
from orchestration.settings import PROJECT_ROOT, load_settings
from tests.faults import REGISTERING

FIRST, SECOND, THIRD = date(2018, 1, 1), date(2018, 1, 2), date(2018, 1, 3)
PROMOTED = Decision(True, ("better",), "challenger")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture
def registry(store: Path, request: pytest.FixtureRequest) -> Registry:
    """A registry whose models are this test's own, on a store that all share: making one takes seconds."""
    made = registry_of(load_settings(data=store))
    return Registry(**{**made.model_dump(), "prefix": request.node.name, "folder": str(store / request.node.name)})


def register(registry: Registry, day: date, content: bytes, promoted: bool = True) -> RegisteredModel:
    return registry.register(
        "churn",
        day,
        content,
        promoted=promoted,
        parameters={"rounds": 200},
        metrics={"roc_auc": 0.85},
        tags={"data_hash": "abc"},
        files={"card.md": b"# card"},
    )


def artefact_of(store: Path, content: bytes) -> Path:
    (found,) = [path for path in (store / "mlflow" / "artifacts").rglob(MODEL_FILE) if path.read_bytes() == content]
    return found


def test_a_new_registry_has_no_champion_and_is_not_even_made(tmp_path: Path) -> None:
    registry = registry_of(load_settings(data=tmp_path))
    assert registry.champion("churn", before=FIRST) is None
    assert list(tmp_path.iterdir()) == []


def test_the_champion_of_a_day_knows_earlier_days_only(registry: Registry) -> None:
    first, second = register(registry, FIRST, b"one"), register(registry, SECOND, b"two")
    register(registry, THIRD, b"three", promoted=False)
    assert registry.champion("churn", before=FIRST) is None
    assert registry.champion("churn", before=SECOND) == first
    assert registry.champion("churn", before=THIRD) == second
    assert registry.champion("churn", before=date(2018, 2, 1)) == second, "what failed its gate is no champion"
    # An old day rebuilt does not take the alias from the newest.
    register(registry, date(2017, 12, 31), b"older")
    assert registry.champion("churn", before=date(2018, 2, 1)) == second


def test_registering_the_same_again_gives_the_same_version(registry: Registry) -> None:
    first = register(registry, FIRST, b"same")
    assert register(registry, FIRST, b"same") == first
    assert register(registry, FIRST, b"other").version != first.version


def test_parameters_metrics_and_files_are_recorded(registry: Registry) -> None:
    version = register(registry, FIRST, b"described").version
    registry.keep_for("churn", FIRST, PROMOTED, RegisteredModel(version, FIRST, "x", b""), "# card")
    ((model, scored_by, shown, trained_for, trained_at, measured),) = registry.overview(["churn"])
    assert (model, scored_by, shown, trained_for) == ("churn", "challenger", version, "2018-01-01")
    assert measured == "roc_auc 0.850" and trained_at.startswith("20")


def test_a_damaged_file_in_the_registry_is_refused(registry: Registry, store: Path) -> None:
    register(registry, FIRST, b"whole model file")
    artefact_of(store, b"whole model file").write_bytes(b"whole model fil!")
    with pytest.raises(ArtefactError, match=r"is not what was registered: SHA-256 .*It was damaged or replaced"):
        registry.champion("churn", before=SECOND)


def test_what_scores_is_kept_and_found_without_the_registry(registry: Registry, store: Path) -> None:
    scorer = register(registry, FIRST, b"kept")
    registry.keep_for("churn", FIRST, PROMOTED, scorer, "# card")
    alone = Registry(**{**registry.model_dump(), "tracking_uri": "http://127.0.0.1:9"})
    assert alone.scorer("churn", FIRST) == scorer
    assert alone.last_scorer("churn", before=SECOND) == scorer
    assert alone.last_scorer("churn", before=FIRST) is None


def test_a_damaged_copy_is_fetched_again_from_the_registry_or_refused(registry: Registry, store: Path) -> None:
    scorer = register(registry, FIRST, b"to be damaged")
    registry.keep_for("churn", FIRST, PROMOTED, scorer, "")
    copy = Path(registry.folder) / "churn" / "2018-01-01" / MODEL_FILE
    for damage in (b"to be damage!", b"to be"):
        copy.write_bytes(damage)
        assert registry.scorer("churn", FIRST) == scorer
    copy.unlink()
    assert registry.scorer("churn", FIRST) == scorer
    artefact_of(store, b"to be damaged").write_bytes(b"gone too")
    with pytest.raises(ArtefactError, match="is not what was registered"):
        registry.scorer("churn", FIRST)
    assert registry.last_scorer("churn", before=SECOND) is None


def test_nobody_scores_where_the_decision_says_so(registry: Registry) -> None:
    registry.keep_for("churn", FIRST, Decision(False, ("too little data",), "nobody"), None, "")
    assert registry.scorer("churn", FIRST) is None
    assert registry.record_of("churn", FIRST).reasons == ("too little data",)
    assert registry.overview(["churn", "response"]) == [
        ("churn", "nobody", "", "", "", "too little data"),
        ("response", "nobody yet: run make refresh", "", "", "", ""),
    ]


@pytest.mark.parametrize("record", [None, "", "{", '{"scores": "champion"}'])
def test_a_day_that_was_not_trained_says_what_to_do(registry: Registry, record: str | None) -> None:
    registry.keep_for("churn", FIRST, PROMOTED, None, "")
    path = Path(registry.folder) / "churn" / "2018-01-01" / RECORD_FILE
    path.unlink() if record is None else path.write_text(record)
    with pytest.raises(RegistryError, match="Materialize models/churn for that day first"):
        registry.scorer("churn", FIRST)


def test_copies_of_old_days_go(registry: Registry) -> None:
    days = [date(2018, 1, day) for day in range(1, 12)]
    for day in days:
        registry.keep_for("churn", day, PROMOTED, None, "")
    kept = sorted(path.name for path in (Path(registry.folder) / "churn").iterdir())
    assert kept == [day.isoformat() for day in days[-registry.keep_days :]]


def test_a_registry_that_cannot_be_reached_says_so(registry: Registry) -> None:
    gone = Registry(**{**registry.model_dump(), "tracking_uri": "http://127.0.0.1:9"})
    with pytest.raises(RegistryError, match=r"http://127.0.0.1:9 cannot be used: .*MLFLOW_TRACKING_URI"):
        gone.champion("churn", before=FIRST)
    with pytest.raises(RegistryError, match="cannot be used"):
        register(gone, FIRST, b"nowhere")


def test_a_damaged_store_says_so(tmp_path: Path) -> None:
    registry = registry_of(load_settings(data=tmp_path))
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "mlflow.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(RegistryError, match="cannot be used"):
        registry.champion("churn", before=FIRST)


# Years of versions --------------------------------------------------------------------------------


def day_number(number: int) -> date:
    return date(2018, 1, 1) + timedelta(days=number)


def kept_versions(registry: Registry, model: str = "churn") -> set[int]:
    with registry._client() as client:
        return {int(version.version) for version in registry._versions(client, model)}


def test_old_versions_go_and_champions_and_recent_scorers_stay(registry: Registry, store: Path) -> None:
    """Of ten versions the second and the fourth were promoted, and the alias was set by hand on the second."""
    made = [
        register(registry, day_number(number), f"{registry.prefix} {number}".encode(), number in (2, 4))
        for number in range(1, 11)
    ]
    with registry._client() as client:
        client.set_registered_model_alias(registry.name_of("churn"), "champion", "2")
    registry.keep_for("churn", FIRST, PROMOTED, made[5], "")  # the sixth scores on a day that is kept
    assert registry.prune(["churn", "value"], keep=2) == 5
    assert kept_versions(registry) == {2, 4, 6, 9, 10}
    champion = registry.champion("churn", before=date(2019, 1, 1))
    assert champion == made[1]
    contents = {path.read_bytes() for path in (store / "mlflow" / "artifacts").rglob(MODEL_FILE)}
    assert {f"{registry.prefix} {number}".encode() for number in (2, 4, 6, 9, 10)} <= contents
    assert not {f"{registry.prefix} {number}".encode() for number in (1, 3, 5, 7, 8)} & contents
    assert registry.prune(["churn"], keep=2) == 0


def test_the_champion_before_the_champion_stays(registry: Registry) -> None:
    for number in range(1, 8):
        register(registry, day_number(number), f"{registry.prefix} {number}".encode(), number in (1, 3, 5))
    assert registry.prune(["churn"], keep=1) == 4
    assert kept_versions(registry) == {3, 5, 7}


def test_a_registry_that_is_empty_has_nothing_to_prune_and_no_damage(tmp_path: Path) -> None:
    registry = registry_of(load_settings(data=tmp_path))
    assert registry.prune(["churn"], keep=1) == 0 and registry.damage(["churn"]) == []
    assert list(tmp_path.iterdir()) == []


def test_a_flipped_bit_and_a_missing_file_are_found(registry: Registry, store: Path) -> None:
    contents = [f"{registry.prefix} {number}".encode() for number in range(3)]
    versions = [register(registry, day_number(number), content) for number, content in enumerate(contents)]
    registry.keep_for("churn", FIRST, PROMOTED, versions[0], "")
    assert registry.damage(["churn"]) == []
    artefact_of(store, contents[1]).write_bytes(bytes([contents[1][0] ^ 1]) + contents[1][1:])
    artefact_of(store, contents[2]).unlink()
    copy = store / registry.prefix / "churn" / str(FIRST) / MODEL_FILE
    copy.write_bytes(b"other")
    flipped, missing, copied = registry.damage(["churn"])
    assert "churn: version 2 in the registry" in flipped and "train it again" in flipped
    assert "the file of version 3 cannot be fetched" in missing and "Restore it" in missing
    assert f"{copy} is missing or damaged" in copied and "make refresh AS_OF=2018-01-01" in copied


# Runs that were killed, and days that were refreshed again ------------------------------------------

# Registers a challenger for each prefix in a process of its own, which ends after one of the calls that change a thing.
REGISTER_AND_DIE = """
import json, os, signal, sys
from datetime import date
from mlflow import MlflowClient
from orchestration.resources.registry import Registry

for call, fields, day in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        original = getattr(MlflowClient, call)
        def killing(*arguments, **options):
            original(*arguments, **options)
            os.kill(os.getpid(), signal.SIGKILL)
        setattr(MlflowClient, call, killing)
        Registry(**fields).register(
            "churn", date.fromisoformat(day), b"challenger", promoted=True, parameters={"rounds": 200},
            metrics={"roc_auc": 0.85}, tags={"data_hash": "abc"}, files={"card.md": b"# card"},
        )
        os._exit(0)
    print(call, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_killed_after_any_call_the_same_version_is_registered_and_scores(registry: Registry, store: Path) -> None:
    """A first version of a model, and one that challenges a champion; half a version scores nowhere."""
    register(registry, FIRST, b"makes the store")
    again: dict[str, tuple[Registry, RegisteredModel | None]] = {}
    for call in REGISTERING:
        fresh = Registry(**{**registry.model_dump(), "prefix": call})
        followed = Registry(**{**registry.model_dump(), "prefix": f"{call}_followed"})
        again |= {fresh.prefix: (fresh, None), followed.prefix: (followed, register(followed, FIRST, b"champion"))}
    # The first of a name makes its experiment and its model; a later one finds them.
    made = ("create_experiment", "create_registered_model")
    plan = [
        (call, made_for.model_dump(), str(SECOND))
        for call in REGISTERING
        for made_for, before in (again[call], again[f"{call}_followed"])
        if before is None or call not in made
    ]
    outcome = subprocess.run(
        [sys.executable, "-c", REGISTER_AND_DIE, json.dumps(plan)],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert outcome.stdout.split("\n")[:-1] == [f"{call} {-signal.SIGKILL}" for call, *_ in plan]

    for made_for, before in again.values():
        assert made_for.champion("churn", before=SECOND) == before
        between = made_for.champion("churn", before=THIRD)
        registered = register(made_for, SECOND, b"challenger")
        assert between in (before, registered)
        assert registered.version == ("1" if before is None else "2")
        assert made_for.champion("churn", before=SECOND) == before
        assert made_for.champion("churn", before=THIRD) == registered
        assert made_for.damage(["churn"]) == []


def test_a_day_refreshed_again_forgets_what_its_killed_run_had_promoted(registry: Registry) -> None:
    first = register(registry, FIRST, b"one")
    register(registry, SECOND, b"from files that were superseded")
    register(registry, SECOND, b"from those that came then", promoted=False)
    assert registry.champion("churn", before=THIRD) == first
    third = register(registry, THIRD, b"three")
    assert registry.champion("churn", before=date(2018, 2, 1)) == third
    register(registry, THIRD, b"three", promoted=False)
    assert registry.champion("churn", before=date(2018, 2, 1)) == first


def test_whom_somebody_made_the_champion_is_asked_again_after_a_kill(registry: Registry) -> None:
    chosen = register(registry, FIRST, b"chosen by hand", promoted=False)
    register(registry, SECOND, b"promoted")
    with registry._client() as client:
        client.set_registered_model_alias(registry.name_of("churn"), "champion", chosen.version)
    killed = register(registry, THIRD, b"of a run that was killed")
    assert registry.champion("churn", before=THIRD) == chosen
    register(registry, THIRD, b"of a run that was killed", promoted=False)
    assert registry.champion("churn", before=date(2018, 2, 1)) == chosen
    assert register(registry, THIRD, b"of a run that was killed") == killed
    assert registry.prune(["churn"], keep=1) == 0, "each may be asked for again"
