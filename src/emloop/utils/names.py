"""Random names for runs, under their name of 0.2."""

from emloop._support.names import random_name as get_random_name

__all__ = ["get_random_name"]
