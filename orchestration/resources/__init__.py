"""What the assets work with: the warehouse, dbt, the publication store."""
