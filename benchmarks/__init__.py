"""Questions answered by numbers: ``python -m benchmarks``."""
