"""Text → configuration: read, composed with its ``eval`` section, overridden from the command line, and checked."""

from ._composing.compose import load_config
from ._composing.interpolate import written
from ._composing.overrides import parse_arg
from ._composing.source import Config, find_config
from .sections import validate_config

__all__ = ["Config", "find_config", "load_config", "parse_arg", "validate_config", "written"]
