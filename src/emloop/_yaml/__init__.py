"""YAML text ↔ nodes that know where they stand; no word of emloop's domain.

``documents`` reads and constructs plain data, ``dump`` and ``flow`` write it.
"""

from __future__ import annotations

from typing import Any

__all__ = ["load"]


def load(text: str | bytes, origin: str = "<text>") -> Any:
    """Read a document as plain data; see :func:`emloop._yaml.documents.load_file`.

    The parser is imported by the first call, so that a program whose data are all in JSON never pays for it.
    """
    from .documents import load as load_document  # noqa: PLC0415

    return load_document(text, origin)
