"""Segments: known ones are found, keep their identity, are the same alone and in a batch; bad input is said."""

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import yaml
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from ml.artefact import ArtefactError, sha256_of, to_text
from ml.monitoring import Bins
from ml.segment_choice import (
    ALGORITHMS,
    GAUSSIAN_MIXTURE,
    Candidate,
    Clusters,
    SegmentParameters,
    choose,
    find_clusters,
    match_identities,
    pairwise_distances,
    silhouette,
)
from ml.segments import BEHAVIOUR, MAX_LABEL, Segment, SegmentModel, SegmentSpecification, SegmentWords, _labels
from ml.specification import TooLittleDataError
from orchestration.settings import DBT_PROJECT_DIR

DAY = "2024-03-01"
QUICK = SegmentParameters(min_segments=2, max_segments=5, sample_rows=600, starts=3, stability_draws=3, permutations=1)
# Visits, basket, discounts, fresh: three kinds of customers, the first of which spends most.
KINDS = ((30.0, 60.0, 0.1, 0.5), (5.0, 55.0, 0.4, 0.2), (12.0, 10.0, 0.15, 0.05))
FOURTH = (1.0, 25.0, 0.8, 0.9)
FEATURES = ("visits", "basket", "discounts", "fresh")


def make_segment_specification(**changes: Any) -> SegmentSpecification:
    settings: dict[str, Any] = {
        "features": FEATURES,
        "words": {
            "visits": SegmentWords(theme="visits", text="visits", high="frequent", low="rare"),
            "basket": SegmentWords(
                theme="basket", text="net sales per visit", high="large baskets", low="small baskets"
            ),
            "discounts": SegmentWords(
                theme="discounts", text="discounts", high="discounts", low="few discounts", kind="share"
            ),
        },
        "order_by": "visits",
        "min_rows": 50,
        "parameters": QUICK,
    }
    return SegmentSpecification(**settings | changes)


def make_customers(
    kinds: tuple[tuple[float, ...], ...] = KINDS, rows: int = 120, seed: int = 0, day: str = DAY
) -> pd.DataFrame:
    """Customers of some kinds, `rows` of each, 8 % around its middle; `kind` says which."""
    generator = np.random.default_rng(seed)
    middles = np.repeat(np.array(kinds), rows, axis=0)
    values = middles * generator.normal(1, 0.08, middles.shape)
    frame = pd.DataFrame(values, columns=list(FEATURES))
    frame["kind"] = np.repeat(np.arange(len(kinds)), rows)
    return frame.assign(
        customer_id=[f"person-{number:04d}" for number in range(len(frame))], as_of_date=pd.Timestamp(day)
    )


@pytest.fixture(scope="module")
def customers() -> pd.DataFrame:
    return make_customers()


@pytest.fixture(scope="module")
def model(customers: pd.DataFrame) -> SegmentModel:
    return SegmentModel(make_segment_specification()).fit(customers, DAY)


def ids(model: SegmentModel, frame: pd.DataFrame) -> npt.NDArray[np.int64]:
    return model.predict(frame)["segment_id"].to_numpy(dtype=np.int64)


def test_committed_features_are_columns_of_the_features_and_all_have_words() -> None:
    described = yaml.safe_load((DBT_PROJECT_DIR / "models/features/customer_features.yml").read_text(encoding="utf-8"))
    columns = {column["name"] for column in described["models"][0]["columns"]}
    spec = SegmentSpecification()
    assert set(spec.features) <= columns and set(spec.features) == set(BEHAVIOUR)


def test_known_segments_are_found_and_numbered_by_what_they_spend(model: SegmentModel, customers: pd.DataFrame) -> None:
    found = ids(model, customers)
    assert len(model.segments_) == 3 and adjusted_rand_score(customers["kind"], found) > 0.9
    by_kind = [int(pd.Series(found)[customers["kind"] == kind].mode()[0]) for kind in range(3)]
    assert by_kind == [1, 3, 2], "by visits, most first"
    assert model.chosen_["stability"] > 0.9
    assert model.chosen_["silhouette"] > model.permuted_silhouette_ + 0.2
    assert {(facts["algorithm"], facts["segments"]) for facts in model.candidates_} == {
        (algorithm, number) for algorithm in ALGORITHMS for number in range(2, 6)
    }


def test_labels_traits_and_rules_say_what_sets_a_segment_apart(model: SegmentModel, customers: pd.DataFrame) -> None:
    first, second, third = sorted(model.segments_, key=lambda segment: segment.id)
    assert "frequent" in first.label.lower() and "small baskets" in second.label.lower()
    assert "discounts" in third.label.lower() and "rare" in third.label.lower()
    labels = [segment.label for segment in model.segments_]
    assert len(set(labels)) == 3 and all(0 < len(label) <= MAX_LABEL for label in labels)
    assert "visits 30 (all: 12)" in first.traits
    assert "discounts 40% (all: 15%)" in third.traits
    assert model.fidelity_ > 0.9
    found = ids(model, customers)
    for segment in model.segments_:
        rule = segment.rule.split(" (tells")[0]
        held = np.asarray(customers.eval(rule), dtype=np.bool_)
        told, right = (held & (found == segment.id)).sum(), (found == segment.id).sum()
        assert segment.rule.endswith(
            f"(tells {told / right:.0%} of the segment, and is right for {told / held.sum():.0%})"
        )


def test_a_row_gets_the_same_segment_alone_in_a_batch_and_in_any_order(
    model: SegmentModel, customers: pd.DataFrame
) -> None:
    whole = model.predict(customers)
    assert list(whole.columns) == ["customer_id", "segment_id", "segment_label", "segment_traits", "segment_rule"]
    assert whole.index.equals(customers.index) and whole["segment_id"].dtype == np.int64
    mixed = customers.sample(frac=1, random_state=1)[[*customers.columns[::-1]]]
    pd.testing.assert_frame_equal(model.predict(mixed), whole.loc[mixed.index])
    for row in range(0, len(customers), 40):
        pd.testing.assert_frame_equal(model.predict(customers.iloc[[row]]), whole.iloc[[row]])
    empty = model.predict(customers.iloc[:0])
    assert empty.empty and list(empty.columns) == list(whole.columns)


def test_the_same_customers_give_the_same_bytes_in_any_order_and_by_any_threads(
    model: SegmentModel, customers: pd.DataFrame
) -> None:
    mixed = customers.sample(frac=1, random_state=2)
    with threadpool_limits(limits=2):
        again = SegmentModel(make_segment_specification()).fit(mixed, DAY)
    assert again.text() == model.text()


def test_an_artefact_comes_back_whole_and_names_nobody(model: SegmentModel, customers: pd.DataFrame) -> None:
    text = model.text()
    back = SegmentModel.from_text(text, sha256_of(text))
    assert back.text() == text
    pd.testing.assert_frame_equal(back.predict(customers), model.predict(customers))
    assert back.measure(customers) == model.measure(customers)
    assert b"person-" not in text


def test_a_mixture_assigns_as_scikit_learn_does_and_comes_back_from_json() -> None:
    matrix = np.random.default_rng(3).normal(size=(300, 3)) * [1, 2, 3] + np.repeat([[0], [6], [12]], 100, axis=0)
    clusters = find_clusters(GAUSSIAN_MIXTURE, matrix, [3], QUICK, seed=1)[3]
    oracle = GaussianMixture(3, reg_covar=1e-2, random_state=1).fit(matrix).predict(matrix)
    assert (clusters.assign(matrix) == oracle).all()
    back = Clusters.from_json(json.loads(json.dumps(clusters.to_json())))
    assert (back.assign(matrix) == oracle).all()
    assert (np.concatenate([back.assign(row[None, :]) for row in matrix]) == oracle).all()


@pytest.mark.parametrize("groups", [[0, 0, 1, 1, 2, 2, 2, 1], [0, 1, 1, 1, 1, 1, 1, 1], [5, 9, 5, 9, 5, 9, 5, 9]])
def test_the_silhouette_is_scikit_learns(groups: list[int]) -> None:
    matrix = np.random.default_rng(4).normal(size=(8, 2))
    assert silhouette(pairwise_distances(matrix), np.array(groups)) == pytest.approx(silhouette_score(matrix, groups))


def test_one_group_or_equal_rows_have_a_silhouette() -> None:
    assert silhouette(pairwise_distances(np.zeros((4, 2))), np.zeros(4, dtype=np.int64)) == -1
    assert silhouette(pairwise_distances(np.zeros((4, 2))), np.array([0, 0, 1, 1])) == 0


def test_drift_is_the_population_stability_index_and_counts_what_became_unknown() -> None:
    values = np.arange(100.0)
    bins = Bins.of(values, 4)
    assert bins.counts == (25, 25, 25, 25, 0) and bins.psi(values) == 0
    moved = np.r_[np.full(50, 10.0), np.full(50, 90.0)]
    p, q = np.array([25, 25, 25, 25, 0]) + 0.5, np.array([50, 0, 0, 50, 0]) + 0.5
    p, q = p / p.sum(), q / q.sum()
    assert bins.psi(moved) == pytest.approx(((q - p) * np.log(q / p)).sum())
    assert bins.psi(np.where(values < 30, np.nan, values)) > 0.2


def _candidate(algorithm: str, number: int, separated: float, stable: float, smallest: float = 0.1) -> Candidate:
    return Candidate(algorithm, number, separated, stable, stable, stable, smallest, Clusters(np.zeros((number, 1))))


def test_the_choice_is_the_most_segments_that_are_stable_and_nearly_best_separated() -> None:
    found = [
        _candidate("k_means", 4, 0.30, 0.9),
        _candidate("k_means", 5, 0.28, 0.8),
        _candidate("ward", 5, 0.29, 0.8),
        _candidate("k_means", 6, 0.29, 0.5),  # not stable
        _candidate("ward", 6, 0.20, 0.9),  # badly separated
        _candidate("ward", 7, 0.50, 0.9, smallest=0.001),  # one too small
    ]
    assert choose(found, SegmentParameters()).name == "ward_5"
    assert choose(found[::-1], SegmentParameters()).name == "ward_5"
    assert choose(found[3:5], SegmentParameters(min_stability=0.95)).name == "ward_6", "none will do: the most stable"


def test_identities_follow_the_customers() -> None:
    old = np.repeat([7, 3, 5], 10)
    assert match_identities(old, np.repeat([2, 0, 1], 10), 3, 0.3) == {2: 7, 0: 3, 1: 5}
    # One split: the larger part is the old one, the smaller is new.
    split = np.r_[np.zeros(7), np.full(3, 3), np.full(10, 1), np.full(10, 2)].astype(np.int64)
    assert match_identities(old, split, 4, 0.3) == {0: 7, 1: 3, 2: 5}
    # What is spread over all old ones is none of them.
    spread = np.tile(np.arange(10), 3)
    assert match_identities(old, spread, 10, 0.3) == {}


def test_segments_keep_number_and_label_when_they_are_found_anew(model: SegmentModel, customers: pd.DataFrame) -> None:
    # The first kind now visits least, so that a first fit would number them otherwise.
    changed = customers.assign(visits=customers["visits"].where(customers["kind"] != 0, 3.0))
    fresh = SegmentModel(make_segment_specification()).fit(changed, DAY)
    again = SegmentModel(make_segment_specification()).fit(changed, DAY, model)
    assert adjusted_rand_score(ids(model, customers), ids(again, changed)) > 0.9
    assert (ids(again, changed) == ids(model, customers)).mean() > 0.9
    assert (ids(fresh, changed) == ids(model, customers)).mean() < 0.5
    labels = {segment.id: segment.label for segment in again.segments_}
    before = {segment.id: segment.label for segment in model.segments_}
    assert labels[2] == before[2], "still true"
    assert labels[1] != before[1] and "frequent" not in labels[1].lower(), "no longer true"


def test_a_new_segment_gets_a_number_that_never_was(model: SegmentModel, customers: pd.DataFrame) -> None:
    spec = make_segment_specification()
    four = make_customers((*KINDS, FOURTH), seed=5)
    more = SegmentModel(spec).fit(four, DAY, model)
    assert sorted(segment.id for segment in more.segments_) == [1, 2, 3, 4] and more.highest_id_ == 4
    assert set(ids(more, four[four["kind"] == 3])) == {4}
    assert (ids(more, customers) == ids(model, customers)).all()
    fewer = SegmentModel(spec).fit(make_customers(seed=6), DAY, more)
    assert sorted(segment.id for segment in fewer.segments_) == [1, 2, 3] and fewer.highest_id_ == 4
    fewer = SegmentModel.from_text(fewer.text(), sha256_of(fewer.text()))
    other = make_customers((*KINDS, (60.0, 5.0, 0.9, 0.95)), seed=7)
    later = SegmentModel(spec).fit(other, DAY, fewer)
    assert sorted(segment.id for segment in later.segments_) == [1, 2, 3, 5], "4 was another"


def test_labels_are_unique_and_short_even_where_segments_are_alike() -> None:
    spec = make_segment_specification()
    alike = {"visits": 0.9, "basket": 0.8, "discounts": 0.1, "fresh": 0.0}
    none = dict.fromkeys(FEATURES, 0.0)
    named = _labels(spec, [1, 2, 3, 4, 5], [alike, alike, alike, none, none], {})
    texts = [text for text, _ in named]
    assert texts[0] == "Frequent, large baskets" and texts[1] == "Frequent, large baskets, discounts"
    assert texts[3] == "Like most customers"
    assert len(set(texts)) == 5 and max(map(len, texts)) <= MAX_LABEL + 4


def test_an_old_label_stays_while_all_of_it_holds() -> None:
    spec = make_segment_specification()
    old = Segment(
        id=1, label="Frequent", phrases=(("visits", 1),), traits="", rule="", share=1, differences={"visits": 1.0}
    )
    weak = {"visits": 0.25, "basket": 1.0, "discounts": 0.0, "fresh": 0.0}
    assert _labels(spec, [1], [weak], {1: old})[0][0] == "Frequent"
    assert _labels(spec, [1], [weak | {"visits": 0.1}], {1: old})[0][0] == "Large baskets"
    # Nobody else takes it meanwhile.
    both = _labels(spec, [2, 1], [weak | {"visits": 1.0, "basket": 0.0}, weak], {1: old})
    assert both[1][0] == "Frequent" and both[0][0] != "Frequent"


def test_what_is_unknown_is_the_middle_and_what_never_varies_is_left_out(customers: pd.DataFrame) -> None:
    spec = make_segment_specification(features=(*FEATURES, "flat", "empty"))
    frame = customers.assign(flat=3.0, empty=np.nan)
    frame.loc[frame.index[::10], "basket"] = np.nan
    model = SegmentModel(spec).fit(frame, DAY)
    assert model.features_ == FEATURES
    assert any("flat left out" in note for note in model.notes_)
    assert any("empty left out: it is NULL in all 360 rows" in note for note in model.notes_)
    assert adjusted_rand_score(frame["kind"], ids(model, frame)) > 0.8
    unknown = customers.head(1).assign(**dict.fromkeys(FEATURES, np.nan))
    assert np.allclose(model.scaled(unknown), np.sqrt(12) / 2), "the 50th percentile"
    assert ids(model, unknown)[0] in {1, 2, 3}
    integers = frame.assign(visits=frame["visits"].round().astype("Int64"))
    assert adjusted_rand_score(ids(model, frame), ids(model, integers)) > 0.95


def test_no_more_customers_than_the_sample_are_compared(customers: pd.DataFrame) -> None:
    few = make_segment_specification(parameters=QUICK.model_copy(update={"sample_rows": 90}))
    model = SegmentModel(few).fit(customers, DAY)
    assert "segments were found on 90 of 360 customers, drawn at random" in model.notes_
    assert adjusted_rand_score(customers["kind"], ids(model, customers)) > 0.9


BAD: list[tuple[Any, type[ValueError], list[str]]] = [
    (lambda frame: frame.head(40), TooLittleDataError, ["40 customers", "needed are 50"]),
    (lambda frame: frame.iloc[:0], TooLittleDataError, ["0 customers"]),
    (lambda frame: frame.drop(columns="basket"), ValueError, ["no column basket"]),
    (lambda frame: frame.drop(columns="customer_id"), ValueError, ["no column customer_id"]),
    (lambda frame: frame.assign(fresh=np.where(frame.index == 7, np.inf, 1.0)), ValueError, ["fresh is infinite in 1"]),
    (lambda frame: frame.assign(fresh="much"), ValueError, ["fresh", "no number"]),
    (lambda frame: frame.assign(**dict.fromkeys(FEATURES, 1.0)), ValueError, ["none of the 4 features varies"]),
    (lambda frame: pd.concat([frame, frame.head(2)]), ValueError, ["customer_id must name one row; 2 rows"]),
    (lambda frame: frame.assign(as_of_date="2024-02-01"), ValueError, ["360 of 360 rows are not of 2024-03-01"]),
    (lambda frame: pd.concat([frame, make_customers(day="2024-02-29")]), ValueError, ["one cut-off"]),
    (
        lambda frame: frame.assign(**dict.fromkeys(FEATURES, 1.0)).assign(visits=frame["kind"] % 2),
        TooLittleDataError,
        ["2 of them different", "cannot be divided into 3 segments"],
    ),
]


@pytest.mark.parametrize("change, error, words", BAD)
def test_what_cannot_be_divided_is_said(
    customers: pd.DataFrame, change: Any, error: type[ValueError], words: list[str]
) -> None:
    spec = make_segment_specification(parameters=QUICK.model_copy(update={"min_segments": 3}))
    with pytest.raises(error) as raised:
        SegmentModel(spec).fit(change(customers), DAY)
    assert all(word in str(raised.value) for word in words), raised.value


def test_fewer_customers_than_segments_are_too_few(customers: pd.DataFrame) -> None:
    spec = make_segment_specification(min_rows=2, parameters=QUICK.model_copy(update={"min_segments": 4}))
    with pytest.raises(TooLittleDataError, match="3 customers, needed are 5"):
        SegmentModel(spec).fit(customers.iloc[[0, 150, 300]], DAY)
    few = customers.iloc[[0, 1, 150, 151, 300, 301]]
    assert len(SegmentModel(spec).fit(few, DAY).segments_) >= 4, "defined, if not useful"


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda frame: frame.assign(visits=np.inf), "infinite"),
        (lambda frame: frame.drop(columns="visits"), "no column visits"),
        (lambda frame: frame.drop(columns="customer_id"), "no column customer_id"),
    ],
)
def test_rows_that_cannot_be_assigned_are_said(
    model: SegmentModel, customers: pd.DataFrame, change: Any, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        model.predict(change(customers))


def _changed(model: SegmentModel, **changes: Any) -> bytes:
    state = json.loads(model.text())["state"]
    return to_text("segments", {name: value for name, value in (state | changes).items() if value is not None})


@pytest.mark.parametrize(
    "changes",
    [
        {"features_": ["visits", "basket", "discounts"]},
        {"features_": ["visits", "basket", "discounts", "other"]},
        {"medians_": [1.0]},
        {"clusters": {"centres": [[1.0]], "factors": None, "constants": None}},
        {"clusters": {"centres": [1.0], "factors": None, "constants": None}},
        {"segments": []},
        {"highest_id_": 1},
        {"bins": {}},
        {"chosen_": {}},
        {"quantiles": None},
        {"specification": {"features": []}},
        {"leaves": [{"conditions": [], "segment_id": 99}]},
    ],
)
def test_an_artefact_that_does_not_fit_together_is_not_loaded(model: SegmentModel, changes: dict[str, Any]) -> None:
    text = _changed(model, **changes)
    with pytest.raises(ArtefactError, match="Train anew"):
        SegmentModel.from_text(text, sha256_of(text))


def test_a_damaged_artefact_is_not_loaded(model: SegmentModel) -> None:
    text = model.text()
    for content, recorded in ((text[:-9], sha256_of(text)), (text, ""), (b"{}", sha256_of(b"{}"))):
        with pytest.raises(ArtefactError):
            SegmentModel.from_text(content, recorded)
    other = to_text("propensity", json.loads(text)["state"])
    with pytest.raises(ArtefactError, match="expected is"):
        SegmentModel.from_text(other, sha256_of(other))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"order_by": "kind"}, "order_by"),
        ({"features": ("visits", "visits")}, "named twice"),
        ({"features": ("visits", "as_of_date")}, "cannot be key or time"),
        ({"parameters": {"min_segments": 6, "max_segments": 5}}, "above max_segments"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_specification_that_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_segment_specification(**changes)
