"""The reference's path to downloads; they are made in ``emloop._support.fetch``.

What fails is an error: the reference logged it and went on without the file.
"""

from emloop._support.fetch import fetch as maybe_download_and_extract
from emloop._support.fetch import sanitize_url

__all__ = ["maybe_download_and_extract", "sanitize_url"]
