"""The sample as a company's own export beside the sample itself: the same marts, and what the general source costs.

Run by `make bench`. Both are refreshed without models, each in an empty folder; the marts are compared table by table,
by content hash.
"""

import sys
import tempfile
import time
from pathlib import Path

from tests.contract_export import export_contract
from tests.pipeline import SAMPLE, Home


def main() -> int:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        export_contract(SAMPLE, folder / "input")
        homes = [
            Home(folder / "sample", SAMPLE),
            Home(folder / "contract", folder / "input", "contract", "America/New_York"),
        ]
        seconds, hashes = [], []
        for home in homes:
            started = time.perf_counter()
            outcome = home.refresh()
            seconds.append(time.perf_counter() - started)
            if outcome.returncode != 0:
                print(outcome.stdout + outcome.stderr, file=sys.stderr)
                return 1
            hashes.append(home.published_hashes())
            print(f"{home.source_name:<18} {seconds[-1]:6.1f} s", flush=True)
    of_sample, of_contract = hashes
    different = sorted(table for table in of_sample | of_contract if of_sample.get(table) != of_contract.get(table))
    print(f"{len(of_sample)} marts, different: {', '.join(different) or 'none'}")
    print(f"contract ÷ complete_journey: {seconds[1] / seconds[0]:.2f}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
