"""Events of PyYAML's parser as plain data, which a cache can keep; only this module and ``syntax`` import PyYAML."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from emloop.errors import ConfigError

from .compose import Event
from .nodes import Text
from .syntax import syntax_error

__all__ = ["read_events"]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_events(text: Text) -> Iterator[Event]:
    """Parse a document.

    Raises:
        ConfigError: If it is no YAML; says where.
    """
    try:
        for event in yaml.parse(text.text, Loader=_LOADER):
            start, end = event.start_mark, event.end_mark
            if start is not None and end is not None:
                anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
                value, style = getattr(event, "value", ""), getattr(event, "style", "") or ""
                yield Event(type(event).__name__, start.index, end.index, anchor, tag, value, style)
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise ConfigError(syntax_error(text, error)) from error
