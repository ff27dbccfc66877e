"""Customer 360: when and in which order. `ml` and dbt know nothing of it."""
