"""What survives the process: state trees, commits and the lock. Knows nothing of models, streams or hooks.

=========== =========================================================================
tree        nested state as JSON and safetensors, bit for bit
manifest    the files of a directory, with sizes and hashes
kept_once   arrays that do not change, in one file for all that a run saves
commit      writing and reading checkpoints; the one place where state becomes durable
retention   which checkpoints are kept
lock        one process per run
random      the run's seed and the global generators of Python, NumPy and frameworks
strict_json JSON that every reader understands alike
=========== =========================================================================

Import the modules themselves: ``lock``, ``manifest`` and ``strict_json`` must not load NumPy.
"""
