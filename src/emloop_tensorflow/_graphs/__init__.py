"""Models as graphs: what is traced from source, what is kept of it, and what goes in and out."""

from emloop.seeding import add_global_generator

from .importing import import_tensorflow

import_tensorflow()

from .surroundings import GlobalGenerators  # noqa: E402 - nothing of TensorFlow comes before what is set above

add_global_generator("tensorflow", GlobalGenerators())
