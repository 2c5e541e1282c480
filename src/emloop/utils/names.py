"""The reference's path to random names for runs; they are drawn in ``emloop._support.names``."""

from emloop._support.names import random_name as get_random_name

__all__ = ["get_random_name"]
