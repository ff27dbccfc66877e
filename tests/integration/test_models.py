"""The models on the whole real sample: what a reader sees, and what happens when something about them is broken."""

import re
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from ml.specification import known_at
from ml.value_specification import closed_rows
from orchestration.dbt_project import thresholds
from orchestration.models import ChurnModel, CustomerValue
from orchestration.monitoring import evidence, newest_that_taught
from orchestration.resources.registry import MODEL_FILE, Registry, registry_of
from orchestration.scores import write_scores
from orchestration.settings import MODELS, PROJECT_ROOT
from tests.integration.test_gates_block import Parts
from tests.pipeline import Home

DAY, NEXT = date(2018, 1, 1), date(2018, 1, 2)


# What a reader sees -------------------------------------------------------------------------------


def test_every_eligible_customer_has_a_probability_a_tier_and_three_reasons(sample_home: Home) -> None:
    assert sample_home.query(
        "select is_eligible_for_churn, count(*), count(churn_probability), count(churn_risk_tier),"
        " count(churn_reason_1), count(churn_reason_2), count(churn_reason_3)"
        " from marts.customer_360 group by all order by all"
    ) == [(False, 242, 0, 0, 0, 0, 0), (True, *[2_227] * 6)]
    assert sample_home.query("select count(distinct churn_risk_tier) from marts.customer_360") == [(4,)]
    # About as many as usual: in the sample some 13 % of the eligible stay away for four weeks.
    ((mean,),) = sample_home.query("select avg(churn_probability) from marts.customer_360")
    assert 0.08 < mean < 0.20
    reasons = sample_home.query("select distinct split_part(churn_reason_1, ':', 1) from marts.customer_360 order by 1")
    assert reasons == [("lowers",), ("raises",), (None,)]


def test_members_of_campaigns_under_way_are_scored_as_of_the_first_day(sample_home: Home) -> None:
    assert sample_home.query(
        "select count(*) from marts.campaign_members as members inner join marts.campaigns using (campaign_id)"
        " anti join marts.campaign_member_scores as scores using (campaign_id, customer_id)"
        " where start_date < date '2018-01-01' and end_date >= date '2018-01-01'"
    ) == [(0,)]
    assert sample_home.query(
        "select count(*) from marts.campaign_member_scores as scores inner join marts.campaigns using (campaign_id)"
        " where scores.as_of_date != campaigns.start_date or response_probability is null"
    ) == [(0,)]
    # Each tenth of a campaign is likelier to respond than the next.
    assert sample_home.query(
        "select count(*) from (select response_decile, min(response_probability) as least,"
        " lag(max(response_probability)) over (partition by campaign_id order by response_decile desc) as below"
        " from marts.campaign_member_scores group by campaign_id, response_decile) where below > least"
    ) == [(0,)]


def test_the_demand_forecast_adds_up_and_covers_eight_weeks(sample_home: Home) -> None:
    ((weeks, first, last),) = sample_home.query(
        "select count(distinct period_start), min(period_start), max(period_start) from marts.demand_forecast"
    )
    assert (weeks, first, last) == (8, date(2018, 1, 1), date(2018, 2, 19))
    gaps = sample_home.query(
        "select max(abs(total - departments)) from (select sum(forecast) filter (where level = 'total') as total,"
        " sum(forecast) filter (where level = 'department') as departments from marts.demand_forecast"
        " group by period_start)"
    )
    assert gaps[0][0] <= 1, "31 departments, each rounded to a cent"
    assert sample_home.query("select count(*) from marts.demand_forecast where forecast is null") == [(0,)]
    assert sample_home.query("select count(*) from marts.demand_forecast_history") == sample_home.query(
        "select count(*) from marts.demand_forecast"
    )


def test_each_model_stands_beside_its_baselines_and_is_better(sample_home: Home) -> None:
    def value(model: str, role: str, metric: str, split: str = "%") -> list[float]:
        rows = sample_home.query(
            f"select value from marts.model_performance where model = '{model}' and role = '{role}'"
            f" and metric = '{metric}' and split like '{split}'"
        )
        return [row[0] for row in rows]

    assert value("churn", "challenger", "roc_auc")[0] > max(value("churn", "baseline", "roc_auc"))
    assert value("churn", "challenger", "ece")[0] <= 0.03
    assert value("response", "challenger", "average_precision")[0] > max(
        value("response", "baseline", "average_precision")
    )
    for level in ("total", "department", "product"):
        assert value("demand", "challenger", "wape", f"{level},%")[0] < min(
            value("demand", "baseline", "wape", f"{level},%")
        )
    assert 0.7 <= value("demand", "challenger", "coverage_80", "department,%")[0] <= 0.9
    assert value("value", "challenger", "normalised_gini")[0] > max(value("value", "baseline", "normalised_gini"))
    assert abs(value("value", "challenger", "bias")[0]) < 0.05
    assert 0.75 <= value("value", "challenger", "coverage_80")[0] <= 0.85
    precisions = (
        value("value", "challenger", "key_account_list_precision"),
        value("value", "baseline", "key_account_list_precision"),
    )
    assert precisions[0][0] > max(precisions[1])
    assert value("segments", "challenger", "stability")[0] >= 0.75
    ((shuffled,),) = sample_home.query(
        "select value from marts.model_performance where version = 'permuted_columns' and metric = 'silhouette'"
    )
    assert value("segments", "challenger", "silhouette")[0] > 2 * shuffled
    ((names_of_candidates,),) = sample_home.query(
        "select string_agg(distinct version order by version) from marts.model_performance"
        " where model = 'segments' and role = 'baseline'"
    )
    assert all(f"{name}_" in names_of_candidates for name in ("k_means", "ward", "gaussian_mixture"))
    names = sample_home.query(
        "select model, string_agg(distinct version order by version) from marts.model_performance"
        " where role = 'baseline' group by model order by model"
    )
    assert dict(names) == {
        "churn": "all_feature_logistic,base_rate,recency,rfm_logistic",
        "response": "all_feature_logistic,base_rate,previous_response_rate,rfm_logistic",
        "demand": "auto_ets,auto_theta,naive,window_average",
        "value": "bg_nbd,last_period",
        "segments": names_of_candidates,
        "recommendations": "item_cosine,matrix_factorisation,personal_frequency,popularity,recent_frequency",
    }


def test_the_decisions_stand_among_the_data_quality_results(sample_home: Home) -> None:
    rows = sample_home.query(
        "select check_name, passed, severity, message from marts.data_quality_results"
        " where check_name like '%_challenger_is_promoted' order by 1"
    )
    assert [(name, passed, severity) for name, passed, severity, _ in rows] == [
        (f"{model}_challenger_is_promoted", True, "warn") for model in sorted(MODELS)
    ]
    words = {"segments_challenger_is_promoted": "silhouette"}
    assert all(words.get(name, "beyond noise") in message for name, *_, message in rows)


def test_make_models_lists_champions_and_a_card_lies_beside_each(sample_home: Home) -> None:
    outcome = sample_home.run("models")
    assert outcome.returncode == 0, outcome.stderr
    lines = {line.split()[0]: line for line in outcome.stdout.splitlines() if line}
    measured = {"churn": "roc_auc 0.8", "response": "roc_auc 0.8", "demand": "wape 0.", "value": "spearman 0.8"}
    for model, metric in (measured | {"segments": "silhouette 0.1"}).items():
        assert "challenger  1 " in lines[model] and "2018-01-01" in lines[model] and metric in lines[model]
        folder = sample_home.settings.models_dir / model / "2018-01-01"
        card = (folder / "card.md").read_text()
        assert card.startswith(f"# Model card: {model}") and "## Gate: promoted" in card
    registry = registry_of(sample_home.settings)
    found = registry.champion("churn", before=NEXT)
    assert found is not None and found.as_of_date == DAY and found == registry.scorer("churn", DAY)


def test_the_notebook_of_the_readme_runs(sample_home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (PROJECT_ROOT / "README.md").read_text(), flags=re.DOTALL)
    exec(code.replace("data/warehouse.duckdb", str(sample_home.settings.warehouse_path)), {})
    said = capsys.readouterr().out
    assert "promote=True" in said and "raises: " in said and "lowers: " in said


# What happens when something is broken ------------------------------------------------------------


@pytest.fixture
def home(sample_home: Home, tmp_path: Path) -> Iterator[Home]:
    """The refreshed sample, to be changed."""
    copied = Home(tmp_path / "data")
    shutil.copytree(sample_home.data, copied.data, symlinks=True, ignore=shutil.ignore_patterns("published", "raw"))
    # Artefacts are found where the registry says; this copy's must not be the original's.
    in_registry(copied, sample_home)
    yield copied


def in_registry(copied: Home, original: Home) -> None:
    """Makes a copied registry point at its own files."""
    import sqlite3

    with sqlite3.connect(copied.settings.mlflow_dir / "mlflow.db") as store:
        for table, column in (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("model_versions", "source"),
        ):
            store.execute(
                f"update {table} set {column} = replace({column}, ?, ?)", (str(original.data), str(copied.data))
            )


@pytest.fixture
def parts(home: Home, monkeypatch: pytest.MonkeyPatch) -> Parts:
    """Parts of the job on the copied home; the day is the next, so that there is a champion of an earlier one."""
    monkeypatch.setenv("CUSTOMER360_DATA", str(home.data))
    execute(home, "update control.refresh set as_of_date = date '2018-01-02'")
    return Parts(home, models="response", day=NEXT, retrain="always")


def execute(home: Home, statement: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(home.settings.warehouse_path)) as connection:
        return connection.execute(statement).fetchall()


RESPONSE = ["models__response", "scores__response"]


def scored(home: Home) -> tuple[Any, ...]:
    """Rows and scores of the next day."""
    return execute(
        home,
        "select count(*), count(response_probability) from scores.response where refresh_date = date '2018-01-02'",
    )[0]


def judged(home: Home) -> set[tuple[Any, ...]]:
    """Role and version of whom the next day measured."""
    measured = "select distinct role, version from scores.performance where refresh_date = date '2018-01-02'"
    return set(execute(home, measured))


def test_the_next_day_challenges_the_champion(home: Home, parts: Parts) -> None:
    steps = parts.run(op_selection=RESPONSE)
    assert steps == {"models__response": "", "scores__response": ""}
    registry = registry_of(home.settings)
    assert registry.record_of("response", NEXT).scores == "challenger"
    champion = registry.champion("response", before=date(2018, 2, 1))
    assert champion is not None and (champion.version, champion.as_of_date) == ("2", NEXT)
    roles = execute(
        home, "select distinct role, version from scores.performance where refresh_date = date '2018-01-02'"
    )
    assert {("challenger", "2"), ("champion", "1")} <= set(roles)
    rows, scores = scored(home)
    assert rows == scores > 0


def test_without_a_registry_the_champion_scores(home: Home, monkeypatch: pytest.MonkeyPatch, parts: Parts) -> None:
    parts = Parts(home, models="response", day=NEXT, mlflow_tracking_uri="http://127.0.0.1:9", retrain="always")
    steps = parts.run(op_selection=RESPONSE)
    assert steps == {"models__response": "", "scores__response": ""}
    record = registry_of(home.settings).record_of("response", NEXT)
    assert (record.scores, record.version, record.trained_as_of) == ("champion", "1", "2018-01-01")
    assert record.reasons == ("the challenger could not be registered", "the champion stays")
    rows, scores = scored(home)
    assert rows == scores > 0


def test_a_damaged_model_file_is_not_loaded_and_its_copy_scores(home: Home, parts: Parts) -> None:
    files = list((home.settings.mlflow_dir / "artifacts").rglob(f"*response*/**/{MODEL_FILE}"))
    for file in files:
        file.write_bytes(file.read_bytes()[:-100])
    assert files
    steps = parts.run(op_selection=RESPONSE)
    assert steps == {"models__response": "", "scores__response": ""}
    # The copy was the one to beat, and the challenger was judged beside it.
    roles = execute(
        home, "select distinct role, version from scores.performance where refresh_date = date '2018-01-02'"
    )
    assert ("champion", "1") in roles


def test_a_challenger_that_fails_leaves_the_champion_scoring(home: Home, parts: Parts) -> None:
    """All responses are scrambled: nothing can be learned, so nothing new may score."""
    execute(
        home,
        "update features.campaign_member_features set has_responded = hash(customer_id, campaign_id) % 7 = 0,"
        " first_responded_at = if(hash(customer_id, campaign_id) % 7 = 0, start_date + interval 3 day, null)",
    )
    forget_content(home)
    assert parts.run(op_selection=RESPONSE) == {"models__response": "", "scores__response": ""}
    record = registry_of(home.settings).record_of("response", NEXT)
    assert (record.scores, record.version) == ("champion", "1")
    assert any("not better than the baseline beyond noise" in reason for reason in record.reasons)
    champion = registry_of(home.settings).champion("response", before=date(2018, 2, 1))
    assert champion is not None and champion.version == "1", "what failed is registered, and is no champion"


def test_a_challenger_that_fails_without_a_champion_means_no_scores(home: Home, parts: Parts) -> None:
    shutil.rmtree(home.settings.mlflow_dir)
    shutil.rmtree(home.settings.models_dir / "response")
    execute(home, "delete from features.campaign_member_features where start_date < date '2017-12-01'")
    forget_content(home)
    assert parts.run(op_selection=RESPONSE) == {"models__response": "", "scores__response": ""}
    record = registry_of(home.settings).record_of("response", NEXT)
    assert record.scores == "nobody"
    assert "too little data as of 2018-01-02" in record.reasons[0] and "needed are" in record.reasons[0]
    rows, scores = scored(home)
    assert rows > 0 and scores == 0


def forget_content(home: Home, table: str = "features.campaign_member_features") -> None:
    """As if every check on the features had passed on what they now are."""
    from orchestration.checks.records import relation_contents

    with duckdb.connect(str(home.settings.warehouse_path)) as connection:
        content = relation_contents(connection, [table], {})
        (content_hash,) = {found.content_hash for found in content.values()}
        connection.execute(
            "update control.check_results set content_hash = ? where table_name = ?", [content_hash, table]
        )


# When a model is trained, and how it is watched ----------------------------------------------------


def due(home: Home, **settings: Any) -> Parts:
    """Parts of the job on the next day, which trains what is due."""
    return Parts(home, models="response", day=NEXT, **settings)


def test_a_day_later_the_champion_scores_untouched(home: Home, parts: Parts) -> None:
    assert due(home).run(op_selection=RESPONSE) == {"models__response": "", "scores__response": ""}
    registry = registry_of(home.settings)
    record = registry.record_of("response", NEXT)
    assert (record.scores, record.version, record.trained_as_of) == ("champion", "1", "2018-01-01")
    assert record.reasons == (
        "it was trained 1 days ago, and nothing has drifted beyond its limits",
        "the champion is kept",
    )
    assert registry.champion("response", before=date(2018, 2, 1)) == registry.scorer("response", NEXT)
    assert judged(home) == set(), "nothing was trained, so nothing was measured"
    card = home.settings.models_dir / "response" / str(NEXT) / "card.md"
    assert card.read_text().startswith("# Model card: response")
    rows, scores = scored(home)
    assert rows == scores > 0


@pytest.mark.parametrize("reason", ["age", "drift"])
def test_age_or_drift_asks_for_a_challenger(home: Home, parts: Parts, reason: str) -> None:
    if reason == "drift":
        drifted = pd.DataFrame([{"model": "response", "kind": "score_drift", "metric": "response_probability"}])
        drifted = drifted.assign(value=0.4, warn_limit=0.25, block_limit=1.0, status="warn", row_count=700)
        with duckdb.connect() as connection:
            write_scores(connection, "monitoring", "response", DAY, [drifted], home.settings.scores_dir)
    found = due(home, max_model_age_days=1 if reason == "age" else 7).run(op_selection=RESPONSE)
    assert found == {"models__response": "", "scores__response": ""}
    assert registry_of(home.settings).record_of("response", NEXT).scores == "challenger"
    assert {("challenger", "2"), ("champion", "1")} <= judged(home)


def test_every_model_is_watched_and_the_holidays_show(sample_home: Home) -> None:
    """Fewer shop between the years, so days since the last visit and sales of the week drift, and nothing else does."""
    beyond = "select model, metric, status from marts.model_monitoring where status != 'ok' order by all"
    assert sample_home.query(beyond) == [
        ("churn", "recency_days", "warn"),
        ("demand", "sales_to_weeks_before", "warn"),
    ]
    rows = sample_home.query(
        "select model, kind, count(*), count(warn_limit), max(value) filter (where warn_limit is not null)"
        " from marts.model_monitoring group by all order by all"
    )
    found = {(model, kind): (count, limited, most) for model, kind, count, limited, most in rows}
    # Scores of recommendations can be compared for one customer only.
    watched = set(MODELS) - {"recommendations"}
    assert {model for model, kind in found if kind == "age"} == watched
    assert {model for model, kind in found if kind == "hold_out"} == watched - {"segments"}
    for model, features in (("churn", 50), ("value", 80), ("segments", 9), ("demand", 1)):
        count, limited, most = found[model, "feature_drift"]
        assert count >= features and limited >= min(features, 30) * 0.8 and most < 0.4, model
    assert ("response", "feature_drift") not in found
    assert sample_home.query(
        "select monitoring.model from marts.model_monitoring as monitoring"
        " inner join marts.model_performance as measured using (model, metric, value)"
        " where kind = 'hold_out' and measured.role = 'challenger'"
        " and split in ('hold_out', 'department, 1 to 4 weeks ahead') order by all"
    ) == [("churn",), ("demand",), ("response",), ("value",)]


@pytest.mark.parametrize("trained_on", [DAY, date(2017, 6, 4), date(2017, 3, 20)])
@pytest.mark.parametrize("model", ["churn", "value"])
def test_what_taught_last_is_read_without_the_rest(sample_home: Home, model: str, trained_on: date) -> None:
    """With many cut-offs before, with fewer than are looked at, and with hardly any."""
    found = ChurnModel(0) if model == "churn" else CustomerValue(0, thresholds())

    def known(rows: pd.DataFrame) -> pd.DataFrame:
        if isinstance(found, ChurnModel):
            return known_at(found.specification(), rows, trained_on)[0]
        return closed_rows(found.specification(), rows, trained_on)

    with duckdb.connect(str(sample_home.settings.warehouse_path), read_only=True) as connection:
        taught = known(found.examples(connection, trained_on))
        rows = newest_that_taught(found, connection, trained_on, known, {"churn": 28, "value": 84}[model])
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr("orchestration.monitoring.REFERENCE_CUSTOMERS", 100)
            few = newest_that_taught(found, connection, trained_on, known, {"churn": 28, "value": 84}[model])
    newest = taught[taught["as_of_date"].isin(sorted(taught["as_of_date"].unique())[-12:])]
    pd.testing.assert_frame_equal(rows.reset_index(drop=True), newest.reset_index(drop=True), check_dtype=False)
    theirs = newest[newest["customer_id"].isin(few["customer_id"])]
    pd.testing.assert_frame_equal(few.reset_index(drop=True), theirs.reset_index(drop=True), check_dtype=False)
    assert min(100, newest["customer_id"].nunique()) * 0.5 <= few["customer_id"].nunique() <= 100


def test_a_feature_that_breaks_blocks_publication_and_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTOMER360_DATA", str(home.data))
    execute(home, f"update features.customer_features set recency_days = 1 where as_of_date = date '{DAY}'")
    steps = Parts(home, models="churn", day=DAY).run(op_selection=["scores__monitoring", "monitoring_gate"])
    assert steps["scores__monitoring"] == ""
    assert "gate models: monitoring_is_within_limits on scores.monitoring failed" in steps["monitoring_gate"]
    assert "model=churn, kind=feature_drift, metric=recency_days" in steps["monitoring_gate"]
    assert "CUSTOMER360_BLOCK_DRIFT" in steps["monitoring_gate"]
    assert evidence("churn", NEXT, home.settings), "and the next day trains"


def test_segments_stay_while_nothing_drifts(home: Home, parts: Parts) -> None:
    """The next day's customers do as they did: the champion is kept, on purpose, and nobody changes segment."""
    execute(
        home, "update features.customer_features set as_of_date = date '2018-01-02' where as_of_date = '2018-01-01'"
    )
    forget_content(home, "features.customer_features")
    steps = Parts(home, models="segments", day=NEXT).run(op_selection=["models__segments", "scores__segments"])
    assert steps == {"models__segments": "", "scores__segments": ""}
    record = registry_of(home.settings).record_of("segments", NEXT)
    assert (record.scores, record.version) == ("champion", "1")
    assert record.reasons[-1] == "the champion is kept" and "allowed is" in record.reasons[0]
    assert execute(
        home,
        "select passed from control.check_results where check_name = 'segments_challenger_is_promoted'"
        " order by result_id desc limit 1",
    ) == [(True,)]
    assert execute(
        home,
        "select count(*), count_if(now.segment_id = before.segment_id and now.segment_label = before.segment_label)"
        " from scores.segments as now inner join marts.customer_360 as before using (customer_id)"
        " where now.refresh_date = date '2018-01-02'",
    ) == [(2_469, 2_469)]
    assert execute(
        home, "select value from scores.performance where metric = 'changed_same_behaviour' and version = '1'"
    ) == [(0.0,)]


def test_features_that_no_gate_has_seen_teach_nothing(home: Home, parts: Parts) -> None:
    execute(home, "update features.campaign_member_features set fit_net_sales = fit_net_sales + 1 where rowid = 0")
    steps = parts.run(op_selection=RESPONSE)
    assert "gate features: response was not trained" in steps["models__response"]
    assert "features.campaign_member_features is not what" in steps["models__response"]
    assert "scores__response" not in steps


def test_another_day_than_that_of_the_features_is_refused(home: Home, parts: Parts) -> None:
    steps = Parts(home, models="response", day=date(2017, 12, 1)).run(op_selection=RESPONSE)
    assert "response is asked for 2017-12-01, and the features are those of 2018-01-02" in steps["models__response"]


def test_scores_without_a_trained_model_say_what_to_do(home: Home, parts: Parts) -> None:
    steps = parts.run(op_selection=RESPONSE[1:])
    assert "Materialize models/response for that day first" in steps["scores__response"]


@pytest.mark.parametrize("model", MODELS)
def test_a_registered_model_is_text_whose_hash_is_checked(sample_home: Home, model: str) -> None:
    registry: Registry = registry_of(sample_home.settings)
    scorer = registry.scorer(model, DAY)
    assert scorer is not None
    assert scorer.content.decode("ascii").startswith("{")
