"""``emloop schema``: a JSON Schema of configurations, for completion and checks in an editor."""

from __future__ import annotations

import json
from typing import Any

from emloop._config import load_config
from emloop._config.schema import config_schema
from emloop.constants import EXIT_DONE

from . import render
from .named_config import named_config

__all__ = ["schema"]


def schema(config_path: str | None, output_root: str) -> int:
    """Write a schema to standard output.

    Args:
        config_path: A config, or a run, whose classes the schema shall cover; ``None`` for the built-in ones alone.
        output_root: Where runs are looked for.

    Returns:
        The exit code.

    Raises:
        ConfigError: If the configuration cannot be read.
    """
    config: dict[str, Any] = {} if config_path is None else load_config(named_config(config_path, output_root).file)
    render.say(json.dumps(config_schema(config), indent=2, ensure_ascii=False))
    return EXIT_DONE
