"""The name of a new run directory, from the template in ``EMLOOP_OUTPUT_DIR_FORMAT``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime

from emloop._support.names import random_name
from emloop._support.suggest import did_you_mean
from emloop.constants import EL_DEFAULT_OUTPUT_DIR_FORMAT, EL_OUTPUT_DIR_FORMAT_VARIABLE
from emloop.errors import ConfigError, Problem

__all__ = ["new_name", "safe_name"]

_FIELD = re.compile(r"\{([^{}]*)\}")
_UNSAFE = re.compile(r"[^\w.+-]+")
_LONGEST = 120
"""Bytes of a model's name that are kept: file systems take names of 255 bytes, and something is appended."""


def new_name(model_name: str) -> str:
    """A name for a run of a model; another call may return another one.

    The template may use ``{model_name}``, ``{random_name}`` and ``{timestamp}`` (local time, to the second).

    Raises:
        ConfigError: If the template has an unknown field or a brace too many.
    """
    template = os.environ.get(EL_OUTPUT_DIR_FORMAT_VARIABLE) or EL_DEFAULT_OUTPUT_DIR_FORMAT
    return _expand(
        template,
        {
            "model_name": safe_name(model_name),
            "random_name": random_name(),
            "timestamp": datetime.now().astimezone().strftime("%Y-%m-%d-%H-%M-%S"),
        },
    )


def safe_name(text: str) -> str:
    """The text as part of a file name: no separators, no white space, no leading dot or dash, not too long."""
    name = _UNSAFE.sub("_", text).encode()[:_LONGEST].decode(errors="ignore").lstrip(".-")
    return name or "Unnamed"


def _expand(template: str, fields: Mapping[str, str]) -> str:
    # Not str.format: its fields reach attributes, and the template comes from the environment.
    for name in _FIELD.findall(template):
        if name not in fields:
            raise _bad_template(f"unknown field {{{name}}} in {template!r}", *did_you_mean(name, fields))
    if re.search("[{}]", _FIELD.sub("", template)):
        raise _bad_template(f"a brace without its partner in {template!r}")
    return _FIELD.sub(lambda match: fields[match[1]], template)


def _bad_template(message: str, *hints: str) -> ConfigError:
    fields = "it may use {model_name}, {random_name} and {timestamp}"
    return ConfigError(Problem(message, path=EL_OUTPUT_DIR_FORMAT_VARIABLE, hints=(*hints, fields)))
