"""Estimators as bytes and back: nothing is pickled, and no tree is believed unseen."""
