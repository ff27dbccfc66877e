"""What is read of the results that a dbt run leaves."""

import json
from pathlib import Path

from orchestration.assets.warehouse import why_not_built
from orchestration.checks.dbt_tests import out_of_memory


def test_what_memory_was_not_enough_for_is_named(tmp_path: Path) -> None:
    starved = "Runtime Error in {} (…)\n  Out of Memory Error: could not allocate block of size 30.5 MiB\n\n  Possible"
    results = [
        {
            "unique_id": "model.customer360.core_orders",
            "status": "error",
            "message": starved.format("model core_orders"),
        },
        {
            "unique_id": "test.customer360.orders_is_filled.5e7fc9dc06",
            "status": "error",
            "message": starved.format("test"),
        },
        {"unique_id": "model.customer360.core_products", "status": "error", "message": "Runtime Error: a typing error"},
        {"unique_id": "model.customer360.customer_360", "status": "skipped", "message": None},
    ]
    path = tmp_path / "run_results.json"
    path.write_text(json.dumps({"results": results}))
    assert out_of_memory(path) == ["core_orders", "orders_is_filled"]


def test_a_disk_that_fills_up_while_dbt_builds_is_named_with_the_remedy(tmp_path: Path) -> None:
    full = RuntimeError("dbt failed:\n\n  TransactionContext Error: Failed to commit: No space left on device")
    said = why_not_built(full, tmp_path)
    assert "No space left on device. Free disk space, then refresh again" in said and said.endswith(str(tmp_path))
    assert "Free disk space" not in why_not_built(RuntimeError("Compilation Error"), tmp_path)
    assert "without a result" in why_not_built(None, tmp_path)
