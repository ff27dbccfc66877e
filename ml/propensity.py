"""The propensity trainer: any frame with a binary label and, if there is one, a time column; churn, response, yours.

Recipe: the mean of the raw scores (log odds) of LightGBM models that differ in their seed, blended with an
L2-penalised logistic regression on normal scores where the specification gives it weight; then a sigmoid (Platt 1999)
fitted on predictions that are forward in time: each by a model that knew only what was known on the first day of its
fold. Specifications are elsewhere.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils.validation import check_is_fitted

from ml import artefact
from ml.baselines import baselines
from ml.decision import CHAMPION, Decision
from ml.evaluation import DRAWS, Interval, Metrics, Split, forward_splits, measure, paired_difference
from ml.preprocessing import Matrix, NormalScores, Preprocessor
from ml.promotion import judge
from ml.specification import (
    Labels,
    Moment,
    PromotionRule,
    Scores,
    Specification,
    TooLittleDataError,
    days,
    eligible,
    jsonable,
    known_at,
    labels_of,
    newest_closing,
    require_columns,
    shortages,
    spoken,
)

KIND = "propensity"
REASONS = 3
IMPORTANCE_ROWS = 500


class _Blend:
    """Raw scores (log odds) of one training set: preprocessing, trees and regression, not calibrated."""

    def __init__(self, specification: Specification, threads: int) -> None:
        self.specification = specification
        self.threads = threads

    def fit(self, rows: pd.DataFrame, label: Labels, seeds: int) -> Self:
        parameters = self.specification.parameters
        self.preprocessor = Preprocessor(self.specification).fit(rows)
        matrix = self.preprocessor.transform(rows)
        self.texts: list[str] = []
        self.normal: NormalScores | None = None
        self.coefficients, self.intercept = np.zeros(matrix.shape[1]), 0.0
        if parameters.logistic_weight < 1:
            self.texts = self._fit_trees(matrix, label, seeds)
        if parameters.logistic_weight > 0:
            self.normal = NormalScores(parameters.quantiles, self.specification.seed).fit(matrix)
            scores = self.normal.transform(matrix)
            # Far more rows than columns: a few exact steps instead of many approximate ones.
            regression = LogisticRegression(solver="newton-cholesky", C=parameters.logistic_c, tol=1e-8).fit(
                scores, label
            )
            # Centred on the rows trained on, so that a contribution is a deviation from the usual.
            self.centre = scores.mean(axis=0)
            self.coefficients = np.asarray(regression.coef_[0], dtype=np.float64)
            self.intercept = float(regression.intercept_[0])
        self._read_trees()
        return self

    def _fit_trees(self, matrix: Matrix, label: Labels, seeds: int) -> list[str]:
        parameters = self.specification.parameters
        shared: dict[str, Any] = {"max_bin": parameters.max_bin, "verbosity": -1, "num_threads": self.threads}
        shared |= {"deterministic": True, "force_row_wise": True, "min_data_in_leaf": parameters.min_rows_in_leaf}
        # The bins are the same for all seeds.
        shared["data_random_seed"] = self.specification.seed
        data = lgb.Dataset(matrix, label, params=shared, free_raw_data=False)
        settings = shared | {
            "objective": "binary",
            "learning_rate": parameters.learning_rate,
            "num_leaves": parameters.num_leaves,
            "feature_fraction": parameters.feature_fraction,
            "bagging_fraction": parameters.bagging_fraction,
            "bagging_freq": 1,
            "lambda_l2": parameters.l2,
        }
        texts = []
        for seed in range(self.specification.seed, self.specification.seed + seeds):
            drawn = dict.fromkeys(("seed", "bagging_seed", "feature_fraction_seed"), seed)
            booster = lgb.train(settings | drawn, data, parameters.rounds)
            # The number of threads makes no difference to the trees, and shall make none to the text.
            texts.append(booster.model_to_string().replace(f"[num_threads: {self.threads}]", "[num_threads: 0]"))
        return texts

    def _read_trees(self) -> None:
        # From the text also right after training, so that what is kept predicts what was measured.
        self.boosters = [lgb.Booster(model_str=text) for text in self.texts]

    def raw(self, matrix: Matrix) -> Scores:
        """Log odds, shape (rows,)."""
        # Summed in a fixed order row by row: a row gives the same alone and in a batch, to the last bit.
        weight = self.specification.parameters.logistic_weight
        total = np.zeros(len(matrix))
        for booster in self.boosters:
            total += np.asarray(booster.predict(matrix, raw_score=True, num_threads=self.threads), dtype=np.float64)
        total *= (1 - weight) / max(len(self.boosters), 1)
        if self.normal is not None:
            total += weight * ((self.normal.transform(matrix) * self.coefficients).sum(axis=1) + self.intercept)
        return total

    def contributions(self, matrix: Matrix) -> tuple[Matrix, Scores]:
        """What each column adds to the log odds, shape (rows, columns), and the rest, (rows,); they sum to `raw`."""
        weight = self.specification.parameters.logistic_weight
        total = np.zeros((len(matrix), matrix.shape[1] + 1))
        for booster in self.boosters:
            shares = booster.predict(matrix, pred_contrib=True, num_threads=self.threads)
            total += np.asarray(shares, dtype=np.float64)
        total *= (1 - weight) / max(len(self.boosters), 1)
        if self.normal is not None:
            total[:, :-1] += weight * (self.normal.transform(matrix) - self.centre) * self.coefficients
            total[:, -1] += weight * (self.intercept + float((self.centre * self.coefficients).sum()))
        return total[:, :-1], total[:, -1]

    def to_json(self) -> dict[str, Any]:
        state: dict[str, Any] = {"preprocessor": self.preprocessor.to_json(), "lightgbm": self.texts, "logistic": None}
        if self.normal is not None:
            state["logistic"] = {
                "quantiles": self.normal.quantiles_.T.tolist(),
                "centre": self.centre.tolist(),
                "coefficients": self.coefficients.tolist(),
                "intercept": self.intercept,
            }
        return state

    @classmethod
    def from_json(cls, specification: Specification, threads: int, state: dict[str, Any]) -> Self:
        made = cls(specification, threads)
        made.preprocessor = Preprocessor.from_json(specification, state["preprocessor"])
        made.texts, made.normal = list(state["lightgbm"]), None
        logistic = state["logistic"]
        if logistic is not None:
            made.normal = NormalScores.from_quantiles(np.ascontiguousarray(np.array(logistic["quantiles"]).T))
            made.centre, made.coefficients = np.array(logistic["centre"]), np.array(logistic["coefficients"])
            made.intercept = float(logistic["intercept"])
        made._read_trees()
        return made


class PropensityModel(BaseEstimator):  # type: ignore[misc]
    """Calibrated probabilities of a binary event, with reasons.

    Attributes:
        as_of_: The midnight at which it was fitted: nothing from then on has been seen. None without a time column.
        rows_: Rows trained on.
        positives_: Of them with label 1.
        first_time_: First cut-off trained on, ISO text; None without a time column.
        last_time_: Last cut-off trained on.
        calibration_: Slope and intercept on the log odds; (1, 0) where too little was held out to fit them.
        importance_: Share of each feature in the contributions to the score, sorted, summing to 1.
        notes_: What a reader of the model should know: features left out, no calibration.
    """

    def __init__(self, specification: Specification, threads: int = 0) -> None:
        """Nothing is fitted here.

        Args:
            specification: What to learn from what.
            threads: Of LightGBM; 0 for all cores. Makes no difference to the result.
        """
        self.specification = specification
        self.threads = threads

    def fit(self, frame: pd.DataFrame, as_of: Moment | None = None) -> Self:
        """Learns from what was known at `as_of`.

        Args:
            frame: One row per identity of the specification: features, label and windows; in any order.
            as_of: A midnight; later rows, labels and events are not looked at. Without one, the day on which the last
                labelled window closed.

        Raises:
            TooLittleDataError: There are too few rows or rows of one class; says what is there and what is needed.
            ValueError: A column is missing or twice, infinite, no number, or the label is not binary.
        """
        spec = self.specification
        frame, moment, rows, label = self._lesson(frame, as_of)
        self.blend_ = _Blend(spec, self.threads).fit(rows, label, spec.parameters.seeds)
        self.notes_ = list(self.blend_.preprocessor.notes_)
        self.calibration_ = self._calibrate(frame, rows, label, moment)
        self.as_of_ = None if moment is None else moment.isoformat()
        self.rows_, self.positives_ = len(label), int(label.sum())
        self.first_time_ = self.last_time_ = None
        if spec.time_column is not None:
            times = days(rows, spec.time_column)
            self.first_time_, self.last_time_ = str(times.min().date()), str(times.max().date())
        self.importance_ = self._importance(rows)
        return self

    def _lesson(
        self, frame: pd.DataFrame, as_of: Moment | None
    ) -> tuple[pd.DataFrame, pd.Timestamp | None, pd.DataFrame, Labels]:
        """The columns that a fit looks at, its moment, the rows that teach then, and their labels."""
        spec = self.specification
        require_columns(frame, list(spec.identity), spec.name)
        frame = spec.narrowed(frame)
        moment = pd.Timestamp(as_of) if as_of is not None else newest_closing(spec, frame)
        if spec.time_column is None:
            moment = None
        elif moment is None:
            raise TooLittleDataError(f"{spec.name}: " + "; ".join(shortages(spec, 0, 0)))
        rows, label = known_at(spec, frame, moment)
        missing = shortages(spec, len(label), int(label.sum()))
        if missing:
            on = f" as of {moment.date()}" if moment is not None else ""
            raise TooLittleDataError(f"{spec.name}: too little to learn from{on}: " + "; ".join(missing))
        return frame, moment, rows, label

    def fit_once(self, frame: pd.DataFrame, as_of: Moment, folder: Path) -> Self:
        """As `fit`; but what was fitted before, to the same rows by the same code, is read from `folder`.

        Raises:
            TooLittleDataError: As `fit`.
            ValueError: As `fit`.
        """
        fingerprint = self._fingerprint(frame, as_of)
        found = artefact.kept(folder, fingerprint)
        if found is not None:
            return self.from_text(found, artefact.sha256_of(found), self.threads)
        fitted = self.fit(frame, as_of)
        artefact.keep(folder, fingerprint, fitted.text())
        return fitted

    def _fingerprint(self, frame: pd.DataFrame, as_of: Moment) -> str:
        """A hash over everything that a fit depends on."""
        spec = self.specification
        frame, moment, rows, _ = self._lesson(frame, as_of)
        folds = () if moment is None else self._folds_forward(frame, moment)
        # What became of a row after the moment is not looked at; its label, as known then, is among its columns.
        later = [column for column in (spec.event_column, spec.closed_column, spec.window_end_column) if column]
        made_by = artefact.made_by("lightgbm", "numpy", "scikit-learn")
        digest = hashlib.sha256(f"{made_by} {moment} {spec.model_dump_json()}".encode())
        for part in (rows, *(part for train, _, test, _ in folds for part in (train, test))):
            columns = part.drop(columns=later, errors="ignore")
            digest.update(" ".join(columns.columns).encode())
            digest.update(pd.util.hash_pandas_object(columns, index=False).to_numpy().tobytes())
        return digest.hexdigest()

    def _calibrate(
        self, frame: pd.DataFrame, rows: pd.DataFrame, label: Labels, moment: pd.Timestamp | None
    ) -> tuple[float, float]:
        """Slope and intercept of a sigmoid on raw scores of rows that the model giving them had not seen."""
        spec = self.specification
        folds = self._folds_apart(rows, label) if moment is None else self._folds_forward(frame, moment)
        needed = spec.parameters.calibration_positives
        raw, truth = [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
        for train, train_label, test, test_label in folds:
            rarer = int(min(train_label.sum(), len(train_label) - train_label.sum()))
            if rarer < needed:
                self.notes_.append(
                    f"a calibration fold left out: {rarer} rows of the rarer class to train on, not {needed}"
                )
                continue
            blend = _Blend(spec, self.threads).fit(train, train_label, spec.parameters.calibration_seeds)
            raw.append(blend.raw(blend.preprocessor.transform(test)))
            truth.append(test_label)
        score, happened = np.concatenate(raw), np.concatenate(truth)
        least = int(min(happened.sum(), len(happened) - happened.sum()))
        if least < needed:
            self.notes_.append(f"not calibrated: {least} held-out rows of the rarer class, needed are {needed}")
            return 1.0, 0.0
        sigmoid = LogisticRegression(C=1e6).fit(score[:, None], happened)
        slope, intercept = float(sigmoid.coef_[0, 0]), float(sigmoid.intercept_[0])
        if slope <= 0:
            self.notes_.append(f"not calibrated: held-out scores rank the wrong way round (slope {slope:.3f})")
            return 1.0, 0.0
        return slope, intercept

    def _folds_forward(
        self, frame: pd.DataFrame, moment: pd.Timestamp
    ) -> Iterator[tuple[pd.DataFrame, Labels, pd.DataFrame, Labels]]:
        """Closed cut-offs in folds of days, newest last; before each, what was known on its first day."""
        spec = self.specification
        closed, label = known_at(spec, frame, moment, closed_only=True)
        if closed.empty or spec.time_column is None:
            return
        time = days(closed, spec.time_column)
        length = pd.Timedelta(days=spec.parameters.calibration_fold_days)
        for fold in range(spec.parameters.calibration_folds - 1, -1, -1):
            end = time.max() - fold * length
            inside = ((time <= end) & (time > end - length)).to_numpy()
            if not inside.any():
                continue
            train, train_label = known_at(spec, frame, time[inside].min())
            if len(train):
                yield train, train_label, closed[inside], label[inside]

    def _folds_apart(
        self, rows: pd.DataFrame, label: Labels
    ) -> Iterator[tuple[pd.DataFrame, Labels, pd.DataFrame, Labels]]:
        """Without a time column: stratified folds; rows of one group stay together."""
        for train, test in _apart(self.specification, rows, label, self.specification.parameters.calibration_folds):
            yield rows.iloc[train], label[train], rows.iloc[test], label[test]

    def _importance(self, rows: pd.DataFrame) -> dict[str, float]:
        sample = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, IMPORTANCE_ROWS).astype(int))]
        strength = self.contributions(sample).drop(columns="bias").abs().mean()
        shares = strength / max(float(strength.sum()), 1e-300)
        order = sorted(shares.index, key=lambda feature: (-shares[feature], feature))
        return {str(feature): float(shares[feature]) for feature in order}

    def raw_score(self, frame: pd.DataFrame) -> Scores:
        """Calibrated log odds, shape (rows,), of the rows given, eligible or not."""
        check_is_fitted(self, "calibration_")
        slope, intercept = self.calibration_
        return slope * self.blend_.raw(self.blend_.preprocessor.transform(frame)) + intercept

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Scores of the eligible rows.

        Args:
            frame: Features, in any order of rows and columns; a label is not looked at.

        Returns:
            The columns of the identity and the score, one row per eligible row, on the frame's index.

        Raises:
            ValueError: A column is missing, infinite or no number.
        """
        spec = self.specification
        require_columns(frame, list(spec.identity), spec.name)
        return self._score(eligible(spec, frame))

    def _score(self, rows: pd.DataFrame) -> pd.DataFrame:
        check_is_fitted(self, "calibration_")
        scored = rows[list(self.specification.identity)].copy()
        scored[self.specification.score] = expit(self.raw_score(rows)) if len(rows) else np.zeros(0)
        return scored

    def predict_batches(self, frames: Iterable[pd.DataFrame], reasons: int = 0) -> Iterator[pd.DataFrame]:
        """Scores, and reasons if asked for, batch by batch: memory does not grow with the number of rows."""
        for frame in frames:
            require_columns(frame, list(self.specification.identity), self.specification.name)
            rows = eligible(self.specification, frame)
            scored = self._score(rows)
            yield pd.concat([scored, self._reasons(rows, reasons)], axis=1) if reasons else scored

    def contributions(self, frame: pd.DataFrame) -> pd.DataFrame:
        """What each feature adds to the calibrated log odds; with `bias`, a row sums to them.

        For trees these are SHAP values (Lundberg et al. 2020, tree SHAP, by LightGBM's pred_contrib), for the
        regression coefficient x deviation from the mean (the same for a linear model); both are in log odds, so the
        blend's are their weighted sum, and the calibration's slope stretches all alike.

        Returns:
            One column per feature used and `bias`, on the frame's index.
        """
        check_is_fitted(self, "calibration_")
        preprocessor, (slope, intercept) = self.blend_.preprocessor, self.calibration_
        shares, bias = self.blend_.contributions(preprocessor.transform(frame))
        features = list(dict.fromkeys(preprocessor.columns_))
        position = np.array([features.index(column) for column in preprocessor.columns_])
        table = np.zeros((len(frame), len(features)))
        for column, place in enumerate(position):
            table[:, place] += slope * shares[:, column]
        result = pd.DataFrame(table, columns=features, index=frame.index)
        result["bias"] = slope * bias + intercept
        return result

    def explain(self, frame: pd.DataFrame, reasons: int = REASONS) -> pd.DataFrame:
        """The top reasons of each eligible row, in words.

        Features with one theme say one thing, so their contributions are summed; the theme is told by its feature that
        pulls most in the sum's direction.

        Returns:
            The columns of the identity and `reason_1` … on the frame's index; each begins with "raises" or "lowers".
        """
        rows = eligible(self.specification, frame)
        return pd.concat([rows[list(self.specification.identity)], self._reasons(rows, reasons)], axis=1)

    def _reasons(self, frame: pd.DataFrame, reasons: int) -> pd.DataFrame:
        names = [f"reason_{number + 1}" for number in range(reasons)]
        if frame.empty:
            return pd.DataFrame(columns=names, index=frame.index, dtype=object)
        spec, shares = self.specification, self.contributions(frame).drop(columns="bias")
        features = list(shares.columns)
        words = [spoken(spec, feature) for feature in features]
        themes = list(dict.fromkeys(word.theme for word in words))
        theme_of = np.array([themes.index(word.theme) for word in words])
        table = shares.to_numpy()
        sums = np.stack([table[:, theme_of == theme].sum(axis=1) for theme in range(len(themes))], axis=1)
        strongest = np.argsort(-np.abs(sums), axis=1, kind="stable")[:, :reasons]
        written: npt.NDArray[np.object_] = np.full((len(frame), reasons), None, dtype=object)
        for place in range(strongest.shape[1]):
            theme = strongest[:, place]
            direction = np.sign(sums[np.arange(len(frame)), theme])
            pulling = np.where(theme_of[None, :] == theme[:, None], table * direction[:, None], -np.inf)
            for row, feature in enumerate(pulling.argmax(axis=1)):
                if direction[row]:
                    value = frame[features[feature]].iat[row]
                    written[row, place] = self._say(features[feature], value, bool(direction[row] > 0))
        return pd.DataFrame(written, columns=names, index=frame.index)

    def _say(self, feature: str, value: Any, raises: bool) -> str:
        words = spoken(self.specification, feature)
        if pd.isna(value) and feature in self.specification.zero_if_null:
            value = 0.0
        typical = self.blend_.preprocessor.medians_.get(feature)
        text = words.text.format(value=_written(value, words.kind), typical=_written(typical, words.kind))
        return ("raises: " if raises else "lowers: ") + text

    def evaluate(self, frame: pd.DataFrame, draws: int = DRAWS) -> Metrics:
        """Metrics of the scores on labelled rows that the model cannot have seen.

        Raises:
            ValueError: A row lies before the day at which the model was fitted: that would measure its memory.
        """
        check_is_fitted(self, "calibration_")
        spec = self.specification
        rows = eligible(spec, frame)
        rows = rows[labels_of(spec, rows).notna()]
        if spec.time_column is not None and len(rows):
            first = days(rows, spec.time_column).min()
            if self.as_of_ is not None and first < pd.Timestamp(self.as_of_):
                raise ValueError(
                    f"{spec.name} was fitted as of {self.as_of_}; rows of {first.date()} may have taught it."
                    " Fit as of the first day tested, or use backtest()"
                )
        score = self.predict(rows)[spec.score]
        groups = rows[spec.group] if spec.group else None
        return measure(labels_of(spec, rows), score, groups, draws, spec.seed)

    def text(self) -> bytes:
        """The artefact: everything that scoring needs. The same data, parameters and seed give the same bytes."""
        check_is_fitted(self, "calibration_")
        state: dict[str, Any] = {name: getattr(self, name) for name in _FITTED}
        state |= {"specification": jsonable(self.specification), "blend": self.blend_.to_json()}
        state["calibration_"] = list(self.calibration_)
        state["importance_"] = list(self.importance_.items())
        return artefact.to_text(KIND, state)

    def save(self, path: Path) -> str:
        """Writes the artefact; returns its SHA-256, which `load` asks for."""
        return artefact.write(path, self.text())

    @classmethod
    def load(cls, path: Path, sha256: str, threads: int = 0) -> Self:
        """Reads an artefact whose SHA-256 is the recorded one.

        Raises:
            ArtefactError: It is not, or the file is missing or of another kind.
        """
        return cls._from_state(artefact.read(path, sha256, KIND), threads, str(path))

    @classmethod
    def from_text(cls, content: bytes, sha256: str, threads: int = 0) -> Self:
        """As `load`, from bytes."""
        return cls._from_state(artefact.from_text(content, sha256, KIND), threads, "the artefact")

    @classmethod
    def _from_state(cls, state: dict[str, Any], threads: int, name: str) -> Self:
        try:
            made = cls(Specification.model_validate(state["specification"]), threads)
            for attribute in _FITTED:
                setattr(made, attribute, state[attribute])
            slope, intercept = state["calibration_"]
            made.calibration_ = (float(slope), float(intercept))
            made.importance_ = {feature: float(share) for feature, share in state["importance_"]}
            made.blend_ = _Blend.from_json(made.specification, threads, state["blend"])
        except (KeyError, TypeError, ValueError, lgb.basic.LightGBMError) as error:
            raise artefact.ArtefactError(
                f"{name} is whole but not a model of this version ({error}). Train anew"
            ) from error
        return made


_FITTED = ("as_of_", "rows_", "positives_", "first_time_", "last_time_", "notes_")


def _written(value: Any, kind: str) -> str:
    if value is None or pd.isna(value):
        return "unknown"
    if kind == "category":
        return str(value)
    if kind == "yes_no":
        return "yes" if value else "no"
    number = float(value)
    if kind == "share":
        return f"{number:.0%}"
    return f"{number:,.0f}" if abs(number) >= 100 or number.is_integer() else f"{number:.2g}"


def _apart(
    specification: Specification, rows: pd.DataFrame, label: Labels, folds: int
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    column = specification.group or specification.keys[0]
    groups = pd.factorize(rows[column])[0]
    folds = min(folds, len(np.unique(groups)))
    if folds < 2:
        return
    yield from StratifiedGroupKFold(folds, shuffle=True, random_state=specification.seed).split(rows, label, groups)


@dataclass(frozen=True)
class Backtest:
    """Predictions of models that had not seen the rows they were tested on.

    Attributes:
        specification: Of the model.
        predictions: Per row tested: the identity, `group`, `label`, the score, and one column per baseline.
    """

    specification: Specification
    predictions: pd.DataFrame

    @property
    def names(self) -> tuple[str, ...]:
        """The score, the baselines, and `champion` where there is one, as in `predictions`."""
        known = {*self.specification.identity, "label", "group"}
        return tuple(str(column) for column in self.predictions.columns if column not in known)

    def metrics(self, name: str | None = None, draws: int = DRAWS, time: Moment | None = None) -> Metrics:
        """Metrics of the model, or of the baseline `name`, on all rows or those of one cut-off."""
        rows = self.predictions
        if time is not None and self.specification.time_column is not None:
            rows = rows[rows[self.specification.time_column] == pd.Timestamp(time)]
        score = rows[name or self.specification.score]
        return measure(rows["label"], score, rows["group"], draws, self.specification.seed)

    def advantage(self, over: str, metric: str = "roc_auc", draws: int = DRAWS) -> Interval | None:
        """By how much the model is better than the baseline `over`, or `champion`; see `paired_difference`."""
        rows, seed = self.predictions, self.specification.seed
        return paired_difference(
            rows["label"], rows[self.specification.score], rows[over], metric, rows["group"], draws, seed
        )

    def judge(self, rule: PromotionRule | None = None, metric: str = "roc_auc", draws: int = DRAWS) -> Decision:
        """Gate 3 on these rows: against the gate baseline, and the champion where it was tested too."""
        rows, spec = self.predictions, self.specification
        champion = rows.get(CHAMPION)
        rule = rule or spec.promotion
        scores = (rows["label"], rows[spec.score], rows[spec.gate_baseline], champion, rows["group"])
        return judge(*scores, rule, metric, draws, spec.seed)


def backtest(
    specification: Specification,
    frame: pd.DataFrame,
    times: list[Moment] | None = None,
    folds: int = 3,
    champion: PropensityModel | None = None,
    threads: int = 0,
) -> Backtest:
    """Trains anew for each cut-off tested on what was known that day, scores that day's rows; beside the baselines.

    Args:
        specification: The model.
        frame: Feature rows with labels.
        times: Cut-offs to test on; without any, the newest `folds` whose labels are there. Without a time column the
        rows are
            split into `folds`, groups apart.
        folds: See `times`.
        champion: Scores the same rows, into the column `champion`; with a time column by a fit that cannot have seen
        them.
        threads: Of LightGBM.

    Raises:
        TooLittleDataError: Before a cut-off there is too little to learn from.
        ValueError: As in `fit`; or there is no labelled cut-off.
    """
    tested: list[pd.DataFrame] = []
    for split in _splits(specification, frame, times, folds):
        rows = split.test.sort_values(list(specification.identity), kind="stable")
        source = frame if split.time is not None else split.train
        fitted = PropensityModel(specification, threads).fit(source, split.time)
        scored = fitted.predict(rows)
        scored["label"] = labels_of(specification, rows).astype(int)
        scored["group"] = (
            rows[specification.group] if specification.group else np.arange(len(rows)) + sum(map(len, tested))
        )
        label = split.train[specification.label].to_numpy(dtype=np.int64)
        for name, baseline in baselines(specification).items():
            scored[name] = baseline.fit(split.train, label).predict(rows)
        if champion is not None:
            held = champion if split.time is None else comparable(champion, frame, split.time, fitted)
            scored[CHAMPION] = held.predict(rows)[champion.specification.score]
        if specification.time_column is not None:
            scored[specification.time_column] = split.time
        tested.append(scored)
    return Backtest(specification, pd.concat(tested, ignore_index=True))


def _splits(
    specification: Specification, frame: pd.DataFrame, times: list[Moment] | None, folds: int
) -> Iterator[Split]:
    if specification.time_column is None:
        rows, label = known_at(specification, frame, None)
        missing = shortages(specification, len(label), int(label.sum()))
        if missing:
            raise TooLittleDataError(f"{specification.name}: too little to learn from: " + "; ".join(missing))
        for train, test in _apart(specification, rows, label, folds):
            yield Split(None, rows.iloc[train], rows.iloc[test])
        return
    if times is None:
        labelled = eligible(specification, frame)
        labelled = labelled[labels_of(specification, labelled).notna()]
        times = list(days(labelled, specification.time_column).drop_duplicates().nlargest(folds))
        if not times:
            raise TooLittleDataError(f"{specification.name}: " + "; ".join(shortages(specification, 0, 0)))
    yield from forward_splits(specification, frame, times)


def comparable(
    model: PropensityModel,
    frame: pd.DataFrame,
    as_of: Moment,
    refitted: PropensityModel | None = None,
    fits: Path | None = None,
) -> PropensityModel:
    """The champion as it may be tested from `as_of` on: itself if fitted by then, else its specification fitted anew.

    A champion fitted later has seen labels of the hold-out, and would look better than it is. One of other windows
    foretells something else: its specification is fitted anew with the windows that the labels are made with.

    Args:
        model: The champion.
        frame: Feature rows with labels.
        as_of: A midnight.
        refitted: A model fitted on this frame as of that midnight; it is taken if it has the champion's specification.
        fits: Folder of what was fitted before, see `PropensityModel.fit_once`; None to fit in any case.
    """
    fitted, spec = model.as_of_, model.specification
    if refitted is not None:
        theirs = refitted.specification
        windows = {"window_days": theirs.window_days, "activity_window_days": theirs.activity_window_days}
        spec = spec.model_copy(update=windows | {"hold_out": theirs.hold_out})
    ours = (model.specification.window_days, model.specification.activity_window_days)
    is_of_these_windows = (spec.window_days, spec.activity_window_days) == ours
    if is_of_these_windows and (fitted is None or pd.Timestamp(fitted) <= pd.Timestamp(as_of)):
        return model
    if refitted is not None and refitted.specification == spec:
        return refitted
    anew = PropensityModel(spec, model.threads)
    return anew.fit(frame, as_of) if fits is None else anew.fit_once(frame, as_of, fits)


def predict_forward(
    model: PropensityModel,
    frame: pd.DataFrame,
    times: Iterable[Moment],
    reasons: int = 0,
    score: pd.DataFrame | None = None,
    fits: Path | None = None,
) -> Iterator[pd.DataFrame]:
    """Scores of the rows of each cut-off by a model that had seen nothing from it on: see `comparable`.

    Args:
        model: Who scores.
        frame: Feature rows with labels, read where the model has to be fitted anew.
        times: Cut-offs.
        reasons: How many reasons to give.
        score: The rows to score; those of `frame` where None.
        fits: See `comparable`.

    Returns:
        A frame per cut-off as from `predict_batches`; with scores of NaN where there was too little to learn from.
    """
    spec = model.specification
    if spec.time_column is None:
        raise ValueError(f"{spec.name} has no time column, so no cut-off to score")
    due = frame if score is None else score
    time_of = days(due, spec.time_column)
    for time in times:
        rows = due[time_of == pd.Timestamp(time)]
        try:
            yield from comparable(model, frame, time, fits=fits).predict_batches([rows], reasons)
        except TooLittleDataError:
            yield eligible(spec, rows)[list(spec.identity)].assign(**{spec.score: np.nan})
