"""What is predicted: plain Python on data frames. Imports neither Dagster nor dbt.

`specification` says what a model is and which rows it may learn from; `propensity` fits, predicts and explains;
`evaluation`, `baselines` and `promotion` judge; `artefact` keeps; `churn` and `response` are the two specifications.
"""
