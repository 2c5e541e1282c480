"""The run's seed, for everything random except datasets.

``main_loop.seed`` is the only seed of a run. While a run is being built and while it runs, :func:`current_seed` returns
it; backends seed their framework with it, and your own models and hooks may do the same. Datasets use
``self.rng(stream)`` instead, which also knows the pass.

A backend whose framework has a global generator registers it with :func:`add_global_generator`: user code that draws
from it, to split or augment data, is then as reproducible, and resumes as exactly, as with Python's and NumPy's.
"""

from emloop._state.random import GlobalGenerator, add_global_generator, current_seed

__all__ = ["GlobalGenerator", "add_global_generator", "current_seed"]
