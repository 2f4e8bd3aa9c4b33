"""The search for a model within a budget, on Optuna (the extra `search`)."""
