"""Several processes that train one model: joining a launcher, and how rank 0 leads the others.

Rank 0 runs the main loop, the hooks and the run directory as one process would. Its model is a :class:`Leader`, which
tells the others what to do; they read their rows of the same batches, and :func:`follow`.
"""

from .channel import Channel
from .following import follow
from .joining import scene_of
from .leading import Leader, lead

__all__ = ["Channel", "Leader", "follow", "lead", "scene_of"]
