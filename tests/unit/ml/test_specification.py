"""Which rows may teach at a moment: the rule of time."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.churn import churn_specification
from ml.evaluation import forward_splits
from ml.response import response_specification
from ml.specification import Specification, closes_at, eligible, known_at, preflight
from tests.unit.ml.ml_frames import make_specification, make_timed_specification

DAY = pd.Timedelta(days=1)


def campaigns(rows: list[tuple[int, int, int | None]]) -> pd.DataFrame:
    """(start, length in days, day of the event from the start) to rows; the label is what the whole window shows."""
    first = pd.Timestamp("2024-01-01")
    frame = pd.DataFrame(rows, columns=["start", "length", "event"])
    frame["customer_id"] = np.arange(len(frame))
    frame["a"] = 0.0
    frame["start_date"] = first + pd.to_timedelta(frame["start"], unit="D")
    frame["end_date"] = frame["start_date"] + pd.to_timedelta(frame["length"] - 1, unit="D")
    frame["event_date"] = frame["start_date"] + pd.to_timedelta(frame["event"].astype(float), unit="D")
    frame["label"] = frame["event"].notna().astype(int)
    return frame


def campaign_specification(share: float = 0.5) -> Specification:
    return make_specification(
        features=("a",),
        categorical=(),
        baselines={},
        gate_baseline="base_rate",
        time_column="start_date",
        window_end_column="end_date",
        event_column="event_date",
        min_elapsed_share=share,
    )


def test_a_window_teaches_from_the_midnight_after_its_last_day() -> None:
    frame = campaigns([(0, 10, 3)])
    spec = campaign_specification(1.0)
    assert closes_at(spec, frame).iloc[0] == pd.Timestamp("2024-01-11")
    assert known_at(spec, frame, "2024-01-10")[1].tolist() == []
    assert known_at(spec, frame, "2024-01-11")[1].tolist() == [1]


def test_an_open_window_teaches_from_half_way_with_what_was_seen() -> None:
    # Of ten days; events on day 3 and, not seen yet, on day 8.
    frame, spec = campaigns([(0, 10, 3), (0, 10, 8), (0, 10, None)]), campaign_specification()
    assert known_at(spec, frame, "2024-01-05")[1].tolist() == []
    assert known_at(spec, frame, "2024-01-06")[1].tolist() == [1, 0, 0]
    assert known_at(spec, frame, "2024-01-06", closed_only=True)[1].tolist() == []
    assert known_at(spec, frame, "2024-01-11")[1].tolist() == [1, 1, 0]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 60), st.integers(1, 30), st.one_of(st.none(), st.integers(0, 29))),
        min_size=1,
        max_size=20,
    ),
    moment=st.integers(0, 100),
    share=st.sampled_from([0.3, 0.5, 1.0]),
)
def test_what_comes_from_the_moment_on_changes_nothing(
    rows: list[tuple[int, int, int | None]], moment: int, share: float
) -> None:
    """Labels, events and rows of later days are scrambled: the same rows teach, with the same labels."""
    rows = [(start, length, event if event is not None and event < length else None) for start, length, event in rows]
    frame, spec = campaigns(rows), campaign_specification(share)
    now = pd.Timestamp("2024-01-01") + moment * DAY
    taught, label = known_at(spec, frame, now)
    assert ((taught["start_date"] < now) | taught.empty).all()

    scrambled = frame.copy()
    later_event = scrambled["event_date"].isna() | (scrambled["event_date"] >= now)
    is_open = closes_at(spec, frame) > now
    scrambled.loc[later_event & is_open, "event_date"] = now + 3 * DAY
    scrambled.loc[is_open, "label"] = 1 - scrambled.loc[is_open, "label"]
    scrambled = scrambled[scrambled["start_date"] < now]
    again, label_again = known_at(spec, scrambled, now)
    assert taught["customer_id"].tolist() == again["customer_id"].tolist()
    assert label.tolist() == label_again.tolist()


@settings(max_examples=40, deadline=None)
@given(window=st.integers(1, 60), offset=st.integers(0, 15))
def test_a_forward_split_never_trains_on_an_unclosed_window(timed: pd.DataFrame, window: int, offset: int) -> None:
    spec = make_timed_specification(window_days=window)
    time = pd.Timestamp("2024-01-07") + offset * 7 * DAY
    (split,) = forward_splits(spec, timed, [time])
    assert (split.test["as_of_date"] == time).all()
    assert (split.train["as_of_date"] + window * DAY <= time).all()
    expected = timed[timed["as_of_date"] + window * DAY <= time]
    assert len(split.train) == len(expected)


def test_a_split_without_labels_names_the_days_that_have_some(timed: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"no labelled rows on 2024-01-08; labelled days are 2024-01-07, .*…"):
        list(forward_splits(make_timed_specification(), timed, ["2024-01-08"]))


def test_young_cut_offs_teach_only_where_there_are_too_few_others(timed: pd.DataFrame) -> None:
    spec = make_timed_specification(history_column="tenure_days", min_history_days=56, min_mature_cutoffs=4)
    late, _ = known_at(spec, timed, "2024-05-01")
    assert late["tenure_days"].min() == 56
    early, _ = known_at(spec, timed, "2024-03-25")
    assert early["tenure_days"].min() == 7


def test_only_the_active_are_eligible(timed: pd.DataFrame) -> None:
    spec = make_timed_specification(activity_column="recency_days", activity_window_days=10)
    unknown = timed.assign(recency_days=timed["recency_days"].where(timed["customer_id"] != 0))
    assert eligible(spec, unknown)["recency_days"].between(1, 10).all()
    assert 0 not in set(eligible(spec, unknown)["customer_id"])
    assert known_at(spec, timed, "2024-05-01")[0]["recency_days"].max() == 10


def test_dates_may_come_as_dates_texts_or_moments_with_a_zone(timed: pd.DataFrame) -> None:
    spec = make_timed_specification()
    reference = known_at(spec, timed, "2024-03-03")[0].index.tolist()
    for column in (
        timed["as_of_date"].dt.date,
        timed["as_of_date"].dt.strftime("%Y-%m-%d"),
        timed["as_of_date"].dt.tz_localize("America/New_York"),
    ):
        rows, _ = known_at(spec, timed.assign(as_of_date=column), "2024-03-03")
        assert rows.index.tolist() == reference


def test_two_rows_of_one_identity_are_refused(timed: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"customer_id, as_of_date must name one row; .* names several"):
        known_at(make_timed_specification(), pd.concat([timed, timed.head(1)]), "2024-05-01")


@pytest.mark.parametrize("strange", [2, 0.5, np.inf, "yes"])
def test_a_label_that_is_not_binary_is_refused(frame: pd.DataFrame, strange: float | str) -> None:
    changed = frame.assign(label=[strange, *frame["label"].tolist()[1:]])
    with pytest.raises(ValueError, match="label must be 0, 1 or NULL"):
        known_at(make_specification(), changed, None)


def test_preflight_says_what_is_there_and_what_is_needed(timed: pd.DataFrame) -> None:
    spec = make_timed_specification(min_rows=200, min_positives=100)
    assert preflight(spec, timed) == ()
    said = preflight(spec, timed, "2024-01-21")
    assert said[0] == "150 labelled rows whose window has closed, needed are 200"
    assert "of them with label = 1, needed are 100" in said[1]
    assert preflight(spec, timed.assign(label=np.nan))[0].startswith("0 labelled rows")
    assert preflight(spec, timed.head(0))[0].startswith("0 labelled rows")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time_column": "as_of_date"}, "either window_days or window_end_column"),
        ({"window_days": 14}, "windows need a time_column"),
        ({"time_column": "t", "window_days": 14, "min_elapsed_share": 0.5}, "needs event_column"),
        ({"activity_column": "recency_days"}, "go together"),
        ({"min_history_days": 9}, "needs history_column"),
        ({"gate_baseline": "nobody"}, "not one of the baselines"),
        ({"features": ("a", "label"), "categorical": ()}, "would tell the label"),
        ({"categorical": ("shape",)}, "no features"),
    ],
)
def test_a_specification_that_does_not_fit_together_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_specification(**changes)


@pytest.mark.parametrize("spec", [churn_specification(), response_specification()])
def test_the_committed_specifications_speak_of_every_feature_and_survive_json(spec: Specification) -> None:
    assert set(spec.features or ()) == set(spec.words)
    assert Specification.model_validate(spec.model_dump(mode="json")) == spec
    for field in type(spec.parameters).model_fields.values():
        assert field.description
