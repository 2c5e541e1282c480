"""Estimators that learn from all batches of an epoch together: in one go, or round by round, an epoch at a time."""
