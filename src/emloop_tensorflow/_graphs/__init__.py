"""Models as graphs: what is traced from source, what is kept of it, and what goes in and out."""

from .importing import import_tensorflow

import_tensorflow()
