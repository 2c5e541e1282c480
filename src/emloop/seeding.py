"""The run's seed, for everything that is random and not a dataset.

``main_loop.seed`` is the only seed of a run. While a run is being built and while it runs, :func:`current_seed` returns
it; a backend's ``BaseModel`` seeds its framework with it, and a model or hook of your own may do the same. Datasets use
``self.rng(stream)`` instead, which also knows the pass.

A backend whose framework has a global generator adds it by :func:`add_global_generator`: code of users that draws from
it, to split or to augment data, is then as reproducible, and resumes as exactly, as with Python's and NumPy's.
"""

from emloop._state.random import GlobalGenerator, add_global_generator, current_seed

__all__ = ["GlobalGenerator", "add_global_generator", "current_seed"]
