"""The vault: what identifies a person, written beside the tables that everybody of the pipeline reads."""

from collections.abc import Iterator

from dagster import AssetExecutionContext, AssetsDefinition, AssetSpec, MaterializeResult, multi_asset

from orchestration.assets.landing import raw_key
from orchestration.personal_data import CUSTOMER_KEYS, CUSTOMERS, customer_table, fill_vault
from orchestration.policies import OWNERS, WAREHOUSE_POOL
from orchestration.resources.warehouse import Warehouse
from orchestration.settings import Settings
from orchestration.sources import Source


def build_vault(settings: Settings, source: Source) -> list[AssetsDefinition]:
    """The vault of a source; nothing where its tables identify nobody."""
    table = customer_table(source)
    if table is None:
        return []
    described = {
        CUSTOMERS: "One row per customer: names, addresses and numbers in one spelling. It is read by nothing else.",
        CUSTOMER_KEYS: "One row per customer: keyed hashes to join on, year of birth, part of the country.",
    }

    @multi_asset(
        name="vault",
        specs=[
            AssetSpec(
                relation.split("."),
                deps=[raw_key(table)],
                description=description,
                group_name="vault",
                kinds={"duckdb"},
                owners=OWNERS,
            )
            for relation, description in described.items()
        ],
        pool=WAREHOUSE_POOL,
    )
    def vault(context: AssetExecutionContext, warehouse: Warehouse) -> Iterator[MaterializeResult[None]]:
        """Puts personal data apart; what is logged of it are counts."""
        with warehouse.connect() as connection:
            counts = fill_vault(connection, table, settings.personal_data_key, settings.country)
        if settings.personal_data_key is None:
            context.log.info(
                "no CUSTOMER360_PERSONAL_DATA_KEY: e-mail addresses and telephone numbers have no key, and nobody who"
                " is a customer twice is found"
            )
        for relation in described:
            yield MaterializeResult(
                asset_key=relation.split("."), metadata={"dagster/row_count": counts["customers"], **counts}
            )

    return [vault]
