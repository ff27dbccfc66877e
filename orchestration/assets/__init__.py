"""Thin assets: read, call one function or dbt, write, attach metadata."""
