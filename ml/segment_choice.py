"""How customers are divided: candidate algorithms on one matrix, how separated and how stable each is, which is kept.

And which new segment is which old one. What the columns mean, and what a segment is called, is not known here.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import pdist, squareform
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from ml.preprocessing import Matrix
from ml.specification import TooLittleDataError

Groups = npt.NDArray[np.int64]

K_MEANS, WARD, GAUSSIAN_MIXTURE = "k_means", "ward", "gaussian_mixture"
ALGORITHMS = (K_MEANS, WARD, GAUSSIAN_MIXTURE)
LEVEL = 0.95
MIXTURE_RIDGE = 1e-2


class SegmentParameters(BaseModel):
    """How segments are found and named, each setting with its range and its reason."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min_segments: Annotated[int, Field(ge=2, le=20)] = Field(
        default=4, description="Fewer tell little more than active or not."
    )
    max_segments: Annotated[int, Field(ge=2, le=20)] = Field(
        default=8, description="More than a team can keep apart and address."
    )
    sample_rows: Annotated[int, Field(ge=50, le=5000)] = Field(
        default=3000,
        description="Customers that segments are found on, drawn at random: time and memory grow with their square.",
    )
    starts: Annotated[int, Field(ge=1, le=50)] = Field(
        default=6, description="Starts of k-means, the best of which counts; with one, chance decides."
    )
    stability_draws: Annotated[int, Field(ge=2, le=200)] = Field(
        default=10, description="Bootstrap samples that each candidate is found on anew."
    )
    min_stability: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.75,
        description="Mean adjusted Rand index with them, without which the segments are an accident of the sample.",
    )
    silhouette_tolerance: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.1,
        description="The most segments win whose silhouette is at most this share below the best: behaviour has few"
        " gaps, so that the fewest segments are always the best separated, and say least.",
    )
    min_share: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        default=0.02, description="Share of the customers in the smallest segment: too few are not worth a campaign."
    )
    permutations: Annotated[int, Field(ge=1, le=100)] = Field(
        default=3, description="Times that the columns are shuffled independently, for data without joint structure."
    )
    min_advantage: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.02, description="Silhouette above the best of these: noise alone stays within 0.01 of it."
    )
    min_overlap: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.3,
        description="Customers in both, over those in either, from which on a new segment is the old one.",
    )
    quantiles: Annotated[int, Field(ge=10, le=1000)] = Field(
        default=100, description="Points of the empirical distribution that map a feature to its percentile."
    )
    drift_bins: Annotated[int, Field(ge=2, le=100)] = Field(
        default=10, description="Quantile bins that drift is measured over."
    )
    tree_depth: Annotated[int, Field(ge=1, le=6)] = Field(
        default=4, description="Conditions in a segment's rule at most; more are not read."
    )
    min_difference: Annotated[float, Field(gt=0, le=3)] = Field(
        default=0.4, description="Standard deviations from all customers from which on a label speaks of a feature."
    )
    label_phrases: Annotated[int, Field(ge=1, le=5)] = Field(
        default=3, description="Phrases in a label, unless it takes more to tell two segments apart."
    )
    traits: Annotated[int, Field(ge=1, le=20)] = Field(
        default=5, description="Features in the text on a segment, those that set it apart most first."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.min_segments > self.max_segments:
            raise ValueError(f"min_segments {self.min_segments} is above max_segments {self.max_segments}")
        return self


@dataclass(frozen=True)
class Clusters:
    """What assigns a row to a cluster: the nearest centre, or the component of a mixture with the highest density.

    Attributes:
        centres: Shape (clusters, columns).
        factors: Of the precision matrices of a mixture, shape (clusters, columns, columns): P = F F'. None: centres.
        constants: Of its log densities, shape (clusters,), with the log weights.
    """

    centres: Matrix
    factors: Matrix | None = None
    constants: Matrix | None = None

    def squared_distances(self, matrix: Matrix) -> Matrix:
        """Squared Euclidean distances to the centres, shape (rows, clusters)."""
        distances = np.zeros((len(matrix), len(self.centres)))
        # Column by column, not by a matrix product: a row's result must not depend on those beside it.
        for column, centre in enumerate(self.centres.T):
            distances += (matrix[:, column, None] - centre) ** 2
        return distances

    def assign(self, matrix: Matrix) -> Groups:
        """The cluster of each row, shape (rows,); the first of equally near ones."""
        return np.asarray(self._costs(matrix).argmin(axis=1), dtype=np.int64)

    def _costs(self, matrix: Matrix) -> Matrix:
        if self.factors is None or self.constants is None:
            return self.squared_distances(matrix)
        costs = np.zeros((len(matrix), len(self.centres)))
        for cluster, (centre, factor) in enumerate(zip(self.centres, self.factors, strict=True)):
            for weights in factor.T:
                projected = np.zeros(len(matrix))
                for column, weight in enumerate(weights):
                    projected += (matrix[:, column] - centre[column]) * weight
                costs[:, cluster] += projected**2
            costs[:, cluster] -= 2 * self.constants[cluster]
        return costs

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "centres": self.centres.tolist(),
            "factors": None if self.factors is None else self.factors.tolist(),
            "constants": None if self.constants is None else self.constants.tolist(),
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            ValueError: The shapes do not fit together.
        """
        made = cls(
            np.asarray(state["centres"], dtype=np.float64),
            None if state["factors"] is None else np.asarray(state["factors"], dtype=np.float64),
            None if state["constants"] is None else np.asarray(state["constants"], dtype=np.float64),
        )
        if made.centres.ndim != 2 or (made.factors is None) != (made.constants is None):
            raise ValueError("the clusters are not centres by columns")
        number, columns = made.centres.shape
        if made.factors is not None and made.factors.shape != (number, columns, columns):
            raise ValueError(f"factors of shape {made.factors.shape}, expected is {(number, columns, columns)}")
        if made.constants is not None and made.constants.shape != (number,):
            raise ValueError(f"constants of shape {made.constants.shape}, expected is {(number,)}")
        return made


@dataclass(frozen=True)
class Candidate:
    """One way to divide the sample, and how good it is.

    Attributes:
        algorithm: One of ALGORITHMS.
        segments: Number of clusters.
        silhouette: Mean silhouette, -1 to 1; -1 where there are not two clusters.
        stability: Mean adjusted Rand index with those found on bootstrap samples.
        lower: Of the 95 % bootstrap interval of the stability.
        upper: Its other end.
        smallest_share: Share of the rows in the smallest cluster; 0 where one is empty.
        clusters: What assigns rows.
    """

    algorithm: str
    segments: int
    silhouette: float
    stability: float
    lower: float
    upper: float
    smallest_share: float
    clusters: Clusters

    @property
    def name(self) -> str:
        """Such as k_means_5."""
        return f"{self.algorithm}_{self.segments}"


def silhouette(distances: Matrix, groups: Groups) -> float:
    """Mean silhouette (Rousseeuw 1987).

    Args:
        distances: Between all pairs of rows, shape (rows, rows).
        groups: Shape (rows,).

    Returns:
        -1 to 1; -1 where all rows are in one group, or each in its own.
    """
    if not 2 <= len(np.unique(groups)) < len(groups):
        return -1.0
    return float(silhouette_score(distances, groups, metric="precomputed"))


def pairwise_distances(matrix: Matrix) -> Matrix:
    """Euclidean distances between all rows, shape (rows, rows)."""
    return np.asarray(squareform(pdist(matrix)), dtype=np.float64)


def _k_means(matrix: Matrix, numbers: Sequence[int], starts: int, seed: int) -> dict[int, Clusters]:
    return {
        number: Clusters(
            np.asarray(KMeans(number, n_init=starts, random_state=seed).fit(matrix).cluster_centers_, dtype=np.float64)
        )
        for number in numbers
    }


def _ward(matrix: Matrix, numbers: Sequence[int], starts: int, seed: int) -> dict[int, Clusters]:
    tree = linkage(matrix, method="ward")
    found = {}
    for number in numbers:
        groups = fcluster(tree, number, criterion="maxclust")
        found[number] = Clusters(np.array([matrix[groups == group].mean(axis=0) for group in np.unique(groups)]))
    return found


def _gaussian_mixture(matrix: Matrix, numbers: Sequence[int], starts: int, seed: int) -> dict[int, Clusters]:
    found = {}
    for number in numbers:
        mixture = GaussianMixture(number, reg_covar=MIXTURE_RIDGE, random_state=seed).fit(matrix)
        factors = np.asarray(mixture.precisions_cholesky_, dtype=np.float64)
        constants = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1) + np.log(mixture.weights_)
        found[number] = Clusters(np.asarray(mixture.means_, dtype=np.float64), factors, constants)
    return found


_FITS: Mapping[str, Callable[[Matrix, Sequence[int], int, int], dict[int, Clusters]]] = {
    K_MEANS: _k_means,
    WARD: _ward,
    GAUSSIAN_MIXTURE: _gaussian_mixture,
}


def find_clusters(
    algorithm: str, matrix: Matrix, numbers: Sequence[int], parameters: SegmentParameters, seed: int
) -> dict[int, Clusters]:
    """Clusters by one algorithm, by their number; the same whatever the thread count.

    Args:
        algorithm: One of ALGORITHMS.
        matrix: Shape (rows, columns), scaled.
        numbers: How many clusters, each at most the number of different rows.
        parameters: With the starts.
        seed: Of the starts.
    """
    # One thread: with several, k-means adds up in the order in which they finish.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return _FITS[algorithm](matrix, numbers, parameters.starts, seed)


def candidates(matrix: Matrix, parameters: SegmentParameters, seed: int) -> list[Candidate]:
    """Every algorithm with every number of clusters, measured on the same rows.

    Stability: Hennig 2007, "Cluster-wise assessment of cluster stability", with the adjusted Rand index (Hubert and
    Arabie 1985): each bootstrap sample's clusters assign all rows, and are compared with those found on all.

    Args:
        matrix: Shape (rows, columns), scaled.
        parameters: Bounds and draws.
        seed: Of the starts and the bootstrap.

    Raises:
        TooLittleDataError: There are fewer different rows than clusters.
    """
    different = len(np.unique(matrix, axis=0))
    if min(different, len(matrix) - 1) < parameters.min_segments:
        raise TooLittleDataError(
            f"{len(matrix)} customers, {different} of them different, cannot be divided into"
            f" {parameters.min_segments} segments; needed are as many that differ and one more, or a lower min_segments"
        )
    generator = np.random.default_rng(seed)
    samples = [generator.integers(0, len(matrix), len(matrix)) for _ in range(parameters.stability_draws)]
    fewest = min(different, len(matrix) - 1, *(len(np.unique(matrix[sample], axis=0)) for sample in samples))
    last = max(min(parameters.max_segments, fewest), parameters.min_segments)
    numbers = range(parameters.min_segments, last + 1)
    samples = [sample for sample in samples if len(np.unique(matrix[sample], axis=0)) >= numbers[-1]]
    with threadpool_limits(limits=1):
        distances = pairwise_distances(matrix)
        return [
            candidate
            for algorithm in ALGORITHMS
            for candidate in _measured(algorithm, matrix, distances, numbers, samples, parameters, seed)
        ]


def _measured(
    algorithm: str,
    matrix: Matrix,
    distances: Matrix,
    numbers: Sequence[int],
    samples: Sequence[npt.NDArray[np.int64]],
    parameters: SegmentParameters,
    seed: int,
) -> Iterator[Candidate]:
    found = find_clusters(algorithm, matrix, numbers, parameters, seed)
    groups = {number: clusters.assign(matrix) for number, clusters in found.items()}
    agreement: dict[int, list[float]] = {number: [] for number in numbers}
    for sample in samples:
        for number, clusters in find_clusters(algorithm, matrix[sample], numbers, parameters, seed).items():
            agreement[number].append(float(adjusted_rand_score(groups[number], clusters.assign(matrix))))
    for number, clusters in found.items():
        draws = agreement[number] or [0.0]
        lower, upper = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        yield Candidate(
            algorithm,
            number,
            silhouette(distances, groups[number]),
            float(np.mean(draws)),
            float(lower),
            float(upper),
            float(np.bincount(groups[number], minlength=number).min() / len(matrix)),
            clusters,
        )


def choose(found: Sequence[Candidate], parameters: SegmentParameters) -> Candidate:
    """The one to keep, by the evidence.

    Of the candidates that are stable and have no segment too small, those with nearly the best silhouette; of these
    the one with the most segments, then the highest silhouette. Where none is, the most stable: the gate refuses it.

    Args:
        found: At least one.
        parameters: With the limits.
    """
    fit = [
        candidate
        for candidate in found
        if candidate.stability >= parameters.min_stability and candidate.smallest_share >= parameters.min_share
    ]
    if not fit:
        return max(found, key=lambda candidate: (candidate.stability, candidate.silhouette))
    best = max(candidate.silhouette for candidate in fit)
    near = [
        candidate for candidate in fit if candidate.silhouette >= best - parameters.silhouette_tolerance * abs(best)
    ]
    return max(near, key=lambda candidate: (candidate.segments, candidate.silhouette))


def permuted_silhouette(matrix: Matrix, chosen: Candidate, parameters: SegmentParameters, seed: int) -> float:
    """The best silhouette that the same algorithm reaches on columns shuffled independently: no joint structure.

    Args:
        matrix: Shape (rows, columns), scaled.
        chosen: Algorithm and number of clusters.
        parameters: With the number of permutations.
        seed: Of the shuffling.
    """
    generator, best = np.random.default_rng(seed), -1.0
    for _ in range(parameters.permutations):
        shuffled = np.ascontiguousarray(generator.permuted(matrix, axis=0))
        number = min(chosen.segments, len(np.unique(shuffled, axis=0)))
        clusters = find_clusters(chosen.algorithm, shuffled, [number], parameters, seed)[number]
        with threadpool_limits(limits=1):
            best = max(best, silhouette(pairwise_distances(shuffled), clusters.assign(shuffled)))
    return best


def in_order(candidate: Candidate, order: Sequence[int]) -> Candidate:
    """The same with its clusters numbered anew: `order[i]` is the old number of cluster i."""
    clusters, wanted = candidate.clusters, list(order)
    return replace(
        candidate,
        clusters=Clusters(
            clusters.centres[wanted],
            None if clusters.factors is None else clusters.factors[wanted],
            None if clusters.constants is None else clusters.constants[wanted],
        ),
    )


def match_identities(previous: Groups, groups: Groups, number: int, min_overlap: float) -> dict[int, int]:
    """Which new cluster is which old segment.

    The pairing with the most customers in both (Kuhn 1955, "The Hungarian method"); of the pairs, those that overlap
    enough.

    Args:
        previous: Segment of each row by the old model, shape (rows,).
        groups: Cluster of the same rows by the new one, shape (rows,).
        number: Of new clusters.
        min_overlap: Rows in both over rows in either (Jaccard), from 0 to 1.

    Returns:
        The old segment by new cluster; a cluster without one is new.
    """
    names, old = np.unique(previous, return_inverse=True)
    both = np.zeros((number, len(names)))
    np.add.at(both, (groups, old), 1)
    either = both.sum(axis=1, keepdims=True) + both.sum(axis=0, keepdims=True) - both
    return {
        int(new): int(names[known])
        for new, known in zip(*linear_sum_assignment(-both), strict=True)
        if both[new, known] and both[new, known] >= min_overlap * either[new, known]
    }
