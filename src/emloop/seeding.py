"""The run's seed, for everything that is random and not a dataset.

``main_loop.seed`` is the only seed of a run. While a run is being built and while it runs, :func:`current_seed` returns
it; a backend's ``BaseModel`` seeds its framework with it, and a model or hook of your own may do the same. Datasets use
``self.rng(stream)`` instead, which also knows the pass.
"""

from emloop._state.random import current_seed

__all__ = ["current_seed"]
