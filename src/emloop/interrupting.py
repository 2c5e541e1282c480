"""Code that a signal ends at once, for backends and plugins.

The first SIGINT, SIGTERM or SIGHUP lets the batch in progress end. What takes long and can be thrown away should not
make it wait:

.. code-block:: python

    with interruptible("exporting the model"):
        program = export(module)

There the handler raises a ``KeyboardInterrupt``, which is to be let through. Functions marked by :func:`uninterrupted`
are finished first. After a signal, :func:`is_interrupted`.
"""

from emloop._support.interrupting import interruptible, is_interrupted, uninterrupted

__all__ = ["interruptible", "is_interrupted", "uninterrupted"]
