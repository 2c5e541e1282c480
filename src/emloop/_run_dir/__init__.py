"""Run directories: making and finding them, and all that the core writes into them.

========== ==============================================================================
layout     making, recognising and finding run directories
run        the life of one: create, reopen, end, delete
info       ``run.json``, ``attempts.jsonl``, and the JSON copies that listings read
config     ``config.yaml`` with its copy ``config.json``, as a flat table to compare runs by
trace      ``trace.yaml`` with its copy ``status.json``: how a run stands
summary    what listings show of runs, ``metrics.jsonl`` included
provenance ``environment.txt`` and ``code.patch``
log        ``train.log``
append     the one way to write files that only grow
beginnings what a commit knows of them: check, cut back, copy
trash      what may be pruned, and where it goes
========== ==============================================================================

No module here imports NumPy, and reading imports no YAML parser where the JSON copies are there: ``emloop ls`` must be
quick.
"""
