"""dbt as a resource of Dagster."""

import importlib.metadata
from collections.abc import Sequence
from functools import cached_property

from dagster_dbt import DbtCliResource
from packaging.version import Version


class Dbt(DbtCliResource):
    """The stock resource without the two things that cost it seconds at every call, and that nothing here uses.

    It starts dbt once more to ask for its version, and loads an adapter of its own to look at the tables.
    """

    @cached_property
    def _cli_version(self) -> Version:
        return Version(importlib.metadata.version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> None:  # type: ignore[override]
        return None
