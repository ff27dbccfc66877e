"""What is predicted: plain Python on data frames. Imports neither Dagster nor dbt.

Propensities: `specification` says what a model is and which rows it may learn from; `propensity` fits, predicts and
explains; `evaluation`, `baselines` and `promotion` judge; `churn` and `response` are the two specifications, their
parameters in `parameters/`, found by `tuning`. Demand: `forecast` and what begins with it. Both: `challenge` trains and
judges for a day, `artefact` keeps, `plots` and `model_card` show.
Recommendations: `recommender` and what begins with `recommendation`.
"""
