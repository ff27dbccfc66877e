"""Running the real pipeline from tests: inputs cut from the real sample, and the refresh as a user runs it."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb

from orchestration.resources.publication import PublicationStore
from orchestration.settings import PROJECT_ROOT, Settings, load_settings
from orchestration.sources import Source, load_source, source_of

SAMPLE = load_source("complete_journey").input_dir(None)
# Every kill at every boundary takes many minutes: `make exhaust` tries them all, `make test` a few.
EXHAUSTIVE = os.environ.get("EXHAUSTIVE") == "1"
HOUSEHOLDS = 60  # of 2,469: every kind of row is there, and a refresh takes little more than its start
# What they hold depends on which days were refreshed before.
HISTORY_TABLES = frozenset(
    {"customer_360_history", "segment_transitions", "demand_forecast_history", "product_recommendations_history"}
)


def cut_sample(folder: Path, households: int = HOUSEHOLDS) -> Path:
    """The sample's files with the first households alone and what they touch; of the products and promotions a part."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = f"select distinct household_id from '{SAMPLE}/transactions.parquet' order by all limit {households}"
    products = f"select product_id from '{SAMPLE}/transactions.parquet' where household_id in ({chosen})"
    conditions = {
        "transactions": f"household_id in ({chosen})",
        "demographics": f"household_id in ({chosen})",
        "campaigns": f"household_id in ({chosen})",
        "coupon_redemptions": f"household_id in ({chosen})",
        "products": f"product_id in ({products})",
        "coupons": f"product_id in ({products})",
        "promotions": f"product_id in (select product_id from ({products}) limit 200)",
        "campaign_descriptions": "true",
    }
    with duckdb.connect() as connection:
        for table, condition in conditions.items():
            connection.execute(
                f"copy (select * from '{SAMPLE}/{table}.parquet' where {condition} order by all)"
                f" to '{folder}/{table}.parquet'"
            )
    return folder


def rewrite(folder: Path, table: str, query: str) -> None:
    """Replaces a file by the result of a query, in which the file's rows are `rows`."""
    path = folder / f"{table}.parquet"
    changed = path.with_suffix(".changed")
    with duckdb.connect() as connection:
        connection.execute(f"copy (with rows as (select * from '{path}') {query}) to '{changed}' (format parquet)")
    changed.replace(path)


@dataclass(frozen=True)
class Home:
    """A data folder of its own, and the refresh into it."""

    data: Path
    input: Path | None = None
    source_name: str = "complete_journey"
    time_zone: str | None = None

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a command on this home."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CUSTOMER360_")}
        # A few households are too few for a model; finding that out would cost each refresh seconds.
        source = {} if self.input is None else {"INPUT": str(self.input), "CUSTOMER360_MODELS": "none"}
        if self.time_zone is not None:
            source["CUSTOMER360_TIME_ZONE"] = self.time_zone
        return {**inherited, "CUSTOMER360_DATA": str(self.data), "SOURCE": self.source_name, **source, **more}

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command of the project, as the Makefile calls it."""
        return subprocess.run(
            [sys.executable, "-m", "orchestration", *arguments],
            cwd=PROJECT_ROOT,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            check=False,
        )

    def _take_what_is_parsed(self) -> None:
        # What `make manifest` left saves each new home seconds; where it is of other words or files, it is parsed anew.
        parsed = load_settings(source=self.source_name).dbt_target_dir
        if parsed.exists() and not self.settings.dbt_target_dir.exists():
            shutil.copytree(parsed, self.settings.dbt_target_dir)

    def refresh(self, as_of: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """The daily refresh."""
        self._take_what_is_parsed()
        return self.run("refresh", **({"AS_OF": as_of} if as_of else {}), **environment)

    @cached_property
    def settings(self) -> Settings:
        """The settings of this home."""
        return load_settings(data=self.data, input=self.input, source=self.source_name, time_zone=self.time_zone)

    @property
    def source(self) -> Source:
        """The source of this home."""
        return source_of(self.settings)

    @property
    def store(self) -> PublicationStore:
        """What is published."""
        return PublicationStore(self.settings.published_dir, self.settings.keep_versions)

    @property
    def manifest(self) -> dict[str, Any]:
        """Dbt's manifest."""
        return dict(json.loads((self.settings.dbt_target_dir / "manifest.json").read_text()))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows from the published file."""
        with duckdb.connect(str(self.store.current_file()), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def warehouse(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows from the private warehouse."""
        with duckdb.connect(str(self.settings.warehouse_path), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def published_hashes(self) -> dict[str, str]:
        """Content hash of each published table that does not describe the run itself."""
        publication = self.store.current()
        assert publication is not None
        return {
            table.table_name: table.content_hash
            for table in publication.tables
            if table.table_name != "data_quality_results"
        }
