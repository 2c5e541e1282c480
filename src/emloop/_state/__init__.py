"""What survives the process: state trees, commits and the lock. Knows nothing of models, streams or hooks.

=========== =========================================================================
tree        nested state as JSON and safetensors, to the bit
manifest    what belongs to a directory of files, with sizes and hashes
commit      writing and reading checkpoints; the one place where state becomes durable
retention   which checkpoints stay
lock        one process per run
random      the global generators of Python and NumPy, and the run's seed
strict_json JSON that is the same for every reader
=========== =========================================================================

Import the modules themselves: ``lock``, ``manifest`` and ``strict_json`` must not load NumPy.
"""
