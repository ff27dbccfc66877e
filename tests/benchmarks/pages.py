"""What huge pages of memory are worth on this machine: random reads, as joins and sums by many keys make them.

Run as `python -m tests.benchmarks.pages`. Each ratio is of two measurements of this run: memory that the system was
asked to give in pages of 4 KiB, and in huge pages, which Linux grants to who asks unless they are switched off. DuckDB
does not ask: it gets them where the machine gives them to everybody (see README, What it costs).
"""

import mmap
import statistics
import time

import numpy as np

from tests.benchmarks.models import show
from tests.benchmarks.refresh import REPEATS, huge_pages

MIB = (8, 64, 512)
READS = 5_000_000


def nanoseconds_per_read(mib: int, advice: int) -> float:
    """Of a random read of eight bytes, the middle of some measurements."""
    with mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(advice)
        values = np.frombuffer(memory, dtype=np.int64)
        values[:] = 1
        places = np.random.default_rng(0).integers(0, len(values), READS)
        taken = []
        for _ in range(REPEATS):
            started = time.process_time()
            values.take(places).sum()
            taken.append(time.process_time() - started)
        del values
    return statistics.median(taken) / READS * 1e9


def main() -> None:
    """Measures and prints."""
    rows = []
    for mib in MIB:
        small, huge = (nanoseconds_per_read(mib, advice) for advice in (mmap.MADV_NOHUGEPAGE, mmap.MADV_HUGEPAGE))
        rows.append((f"{mib} MiB", f"{small:.0f}", f"{huge:.0f}", f"{small / huge:.1f}"))
    heading = f"a random read, in nanoseconds (huge pages here: {huge_pages()})"
    show(heading, ("memory", "4 KiB pages", "huge pages", "ratio"), rows)


if __name__ == "__main__":
    main()
