"""Who the customers are, on the whole real sample: classes, value, segments, how they move, one customer's portrait."""

from datetime import date

import pytest

from orchestration import cli
from orchestration.settings import Settings
from orchestration.sources import Source
from tests.pipeline import Home


def test_every_customer_has_every_class_and_every_class_has_customers(sample_home: Home) -> None:
    # Not in the sample: a season needs two years of history; whoever is known has bought; who is three has children.
    never = {("purchase_pattern", "seasonal"), ("lifecycle_stage", "prospect"), ("rfm_segment", "prospects")}
    never |= {(name, "no_orders") for name in ("purchase_pattern", "needs_type", "loyalty_tier")}
    never |= {("household_type", "several_adults")}
    never |= {("is_unprofitable", label) for label in ("true", "false")}
    defined = set(sample_home.query("select classification, label from marts.label_definitions"))
    columns = sorted({classification for classification, _ in defined})
    given = set(
        sample_home.query(
            f"from (select {', '.join(f'{name}::varchar as {name}' for name in columns)} from marts.customer_360)"
            f" unpivot (label for classification in ({', '.join(columns)})) select distinct classification, label"
        )
    )
    assert given <= defined
    assert defined - given == never


def test_key_accounts_are_the_fewest_who_carry_a_third(sample_home: Home) -> None:
    ((count, share, least, most_of_others),) = sample_home.query(
        "select count_if(is_key_account), (sum(monetary) filter (where is_key_account) / sum(monetary))::double,"
        " min(monetary) filter (where is_key_account), max(monetary) filter (where not is_key_account)"
        " from marts.customer_360"
    )
    assert 200 < count < 250 and least > most_of_others
    ((without_the_last,),) = sample_home.query(
        f"select (sum(monetary) filter (where monetary > {least}) / sum(monetary))::double from marts.customer_360"
    )
    assert without_the_last < 0.33 <= share


def test_every_customer_has_a_value_within_its_interval_and_they_add_up_to_the_level(sample_home: Home) -> None:
    ((customers, values, held, total, last_window),) = sample_home.query(
        "select count(*), count(predicted_clv),"
        " count_if(predicted_clv_lower_80 <= predicted_clv and predicted_clv <= predicted_clv_upper_80),"
        " sum(predicted_clv)::double, (select sum(net_sales)::double from marts.orders"
        "   where order_date >= date '2018-01-01' - 84) from marts.customer_360"
    )
    assert customers == values == held == 2_469
    assert 0.8 < total / last_window < 1.25
    assert sample_home.query(
        "select count(*) from marts.customer_360 where total_clv != historic_clv + predicted_clv"
        " or key_account_probability is null"
    ) == [(0,)]


def test_segments_have_profiles_that_add_up(sample_home: Home) -> None:
    rows = sample_home.query(
        "select segment_id, segment_label, customers, share_of_sales::double, traits, rule, distinctive_categories"
        " from marts.segment_profiles order by segment_id"
    )
    assert 3 <= len(rows) <= 8
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    assert sum(row[2] for row in rows) == 2_469 and sum(row[3] for row in rows) == pytest.approx(1, abs=1e-5)
    assert all(text for row in rows for text in row[4:])
    assert sample_home.query(
        "select count(*) from marts.segment_profiles as profiles left join marts.label_definitions as labels"
        " on classification = 'segment_label' and label = segment_label"
        " where labels.rule is distinct from profiles.rule or labels.meaning is distinct from profiles.traits"
    ) == [(0,)]


def test_rules_and_models_agree_on_most_and_the_cases_that_differ_are_listed(sample_home: Home) -> None:
    rows = sample_home.query(
        "select comparison, customers, agreement::double, kappa::double, count_rule_only + count_model_only,"
        " (select count(*) from marts.business_rule_differences as cases where cases.comparison = told.comparison)"
        " from marts.business_rule_agreement as told order by comparison"
    )
    assert [row[0] for row in rows] == ["at_risk", "best_customers", "high_value", "key_account"]
    for comparison, customers, agreement, kappa, differing, listed in rows:
        assert 2_000 < customers <= 2_469, comparison
        assert differing == listed == round((1 - agreement) * customers)
        assert 0 < kappa < agreement < 1


def test_on_the_first_day_everybody_comes_from_nowhere(sample_home: Home) -> None:
    assert sample_home.query(
        "select distinct previous_as_of_date, from_label, (sum(customers) over (partition by classification))::int"
        " from marts.segment_transitions"
    ) == [(None, "not_known", 2_469)]


def test_a_portrait_tells_the_whole_customer(sample_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    ((customer_id, tier, segment),) = sample_home.query(
        "select customer_id, churn_risk_tier, segment_label from marts.customer_360"
        " where churn_risk_tier = 'high' order by monetary desc limit 1"
    )
    outcome = sample_home.run("profile", customer_id)
    assert outcome.returncode == 0, outcome.stderr
    headings = [line for line in outcome.stdout.splitlines() if line and not line.startswith(" ")]
    told = ["Who", "Orders", "Classes", "How", "Value", "Risk", "Bought most", "To buy again", "To discover"]
    assert headings[: len(told) + 1] == [f"Customer {customer_id}, as of 2018-01-01", *told]
    assert f"{tier}: Worth an offer before it is too late." in outcome.stdout and segment in outcome.stdout
    assert "raises: " in outcome.stdout or "lowers: " in outcome.stdout

    outcome = sample_home.run("profile", "nobody")
    assert outcome.returncode == 2
    assert "'nobody' is not in customer_360. Name one with CUSTOMER=" in outcome.stderr


@pytest.mark.parametrize(
    "arguments, days, newest",
    [
        (["2017-10-09", "2017-11-06"], ["2017-10-09", "2017-11-06"], "2018-01-01"),
        (["2017-10-09", "2017-11-05"], ["2017-10-09"], "2018-01-01"),
        (["2017-12-31", "2018-01-02", "1"], ["2017-12-31", "2018-01-01", "2018-01-02"], None),
    ],
)
def test_a_backfill_goes_from_the_oldest_day_to_the_newest(
    small_home: Home, monkeypatch: pytest.MonkeyPatch, arguments: list[str], days: list[str], newest: str | None
) -> None:
    refreshed: list[date | None] = []

    def refresh(settings: Settings, source: Source) -> int:
        refreshed.append(settings.as_of)
        return 0

    monkeypatch.setattr(cli, "refresh", refresh)
    first, last = (date.fromisoformat(day) for day in arguments[:2])
    assert cli.backfill(small_home.settings, small_home.source, first, last, int((*arguments, "28")[2])) == 0
    assert [str(day) for day in refreshed] == days + ([newest] if newest else [])


@pytest.mark.parametrize("arguments", [["2017-11-06", "2017-10-09"], ["2017-10-09", "2017-11-06", "0"]])
def test_a_backfill_without_a_day_is_refused(
    small_home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setenv("CUSTOMER360_DATA", str(small_home.data))
    assert cli.main(["backfill", *arguments]) == 2
    assert "there is no day; give FROM= not after TO=" in capsys.readouterr().err


def test_a_backfill_stops_where_a_day_fails(
    small_home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "refresh", lambda settings, source: 1)
    assert cli.backfill(small_home.settings, small_home.source, date(2017, 10, 9), date(2017, 11, 6), 28) == 1
    assert "the backfill stopped at 2017-10-09" in capsys.readouterr().err
