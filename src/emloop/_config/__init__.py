"""Text → configuration: read, composed with its ``eval`` section, overridden from the command line, and checked."""

from .compose import load_config
from .interpolate import written
from .overrides import parse_arg
from .sections import validate_config
from .source import Config, find_config

__all__ = ["Config", "find_config", "load_config", "parse_arg", "validate_config", "written"]
