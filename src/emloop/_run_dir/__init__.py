"""Run directories: creating and finding them, and what the core writes into them.

=========== =========================================================================
layout      where a run directory is, is put and is found
summary     what a listing shows of runs
run         the life of one run directory: create, reopen, end, delete
info        ``run.json``, written first
attempts    ``attempts.jsonl``, a line per start and end of a process
trace       ``trace.yaml``, the readable status
flat_config ``config.yaml`` as a flat table, to compare runs by
metrics     ``metrics.jsonl``, a line of numbers per epoch
provenance  ``environment.txt`` and ``code.patch``
log         ``train.log``
append      the one way to write files that only grow
beginnings  what a commit knows of them, and cutting back to it
ours        what is certainly ours, and may be pruned
trash       where pruned runs go
=========== =========================================================================

No module here imports NumPy: ``emloop ls`` must be quick.
"""
