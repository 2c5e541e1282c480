"""The reference's path to reading configurations; they are read in ``emloop._config``."""

from emloop._config import load_config, parse_arg

__all__ = ["load_config", "parse_arg"]
