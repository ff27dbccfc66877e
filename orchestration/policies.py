"""How steps are run: owners, retries and limits, in one place."""

from dagster import Backoff, RetryPolicy

OWNERS = ["team:data-engineering"]

# The warehouse has one writer, so the steps that open it share a pool of one slot (dagster.yaml sets its limit).
WAREHOUSE_POOL = "warehouse"

# A file share that hiccups or a disk that is full for a moment is worth another try. What is wrong with the data is
# not: it raises Failure(allow_retries=False).
TRANSIENT = RetryPolicy(max_retries=2, delay=5, backoff=Backoff.EXPONENTIAL)
