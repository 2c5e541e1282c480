"""Checking what a configuration gives, with all mistakes, in the same grammar everywhere; for backends and plugins.

.. code-block:: python

    problems = argument_problems("create_model", given, arguments_of(self.create_model))
    if problems:
        raise ConfigError(problems)
"""

from emloop._support.arguments import argument_problems, arguments_of, distinct_names, import_object

__all__ = ["argument_problems", "arguments_of", "distinct_names", "import_object"]
