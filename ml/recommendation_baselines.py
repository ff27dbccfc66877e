"""What a ranker must beat, and what is published where it does not: popularity, a customer's own frequency, neighbours.

Each gives scores to the same candidates that the ranker orders; minus infinity where it says nothing.
"""

import numpy as np

from ml.recommendation_candidates import SOURCES, Candidates, Pairs
from ml.recommendation_history import Codes
from ml.recommendation_items import LIKING_BY, POPULAR_BY, Items
from ml.specification import Scores

POPULARITY, PERSONAL_FREQUENCY, RECENT_FREQUENCY = "popularity", "personal_frequency", "recent_frequency"
ITEM_COSINE, FACTORISATION = "item_cosine", "matrix_factorisation"
BASELINES = (POPULARITY, PERSONAL_FREQUENCY, RECENT_FREQUENCY, ITEM_COSINE, FACTORISATION)
# They tell nothing of products never bought before.
OF_OWN_ONLY = frozenset({PERSONAL_FREQUENCY, RECENT_FREQUENCY})


def popularity_share(items: Items) -> Scores:
    """Share of the visits of all customers that each product was bought on, faded, shape (products,)."""
    return np.asarray(items.popularity[POPULAR_BY] / max(items.visits, 1e-9))


def personal_frequency(pairs: Pairs, rows: Candidates, visits: Codes) -> Scores:
    """Share of the customer's visits that the product was bought on; of equals what was bought last is first.

    Args:
        pairs: What the customers bought before.
        rows: Candidates.
        visits: Of each customer.
    """
    share = pairs.visits / visits[pairs.customer]
    # Too little to be more than a tie breaker, or to be seen.
    share -= 1e-7 * pairs.days_since / (1 + pairs.days_since) / visits[pairs.customer]
    return np.where(rows.is_new, -np.inf, np.r_[share, -np.inf][rows.pair])


def baseline_scores(name: str, items: Items, pairs: Pairs, rows: Candidates, visits: Codes) -> Scores:
    """Scores of the candidates by a baseline of BASELINES, shape (rows,)."""
    if name == POPULARITY:
        return popularity_share(items)[rows.product]
    if name == PERSONAL_FREQUENCY:
        return personal_frequency(pairs, rows, visits)
    if name == RECENT_FREQUENCY:
        return np.where(rows.is_new, -np.inf, np.r_[pairs.faded[LIKING_BY], -np.inf][rows.pair])
    source = {ITEM_COSINE: "similar", FACTORISATION: "factors"}[name]
    return rows.scores[:, SOURCES.index(source)]
