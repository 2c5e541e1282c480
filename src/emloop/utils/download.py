"""Downloads under the names of 0.2; failures raise, where 0.2 logged them and went on without the file."""

from emloop._support.fetch import fetch as maybe_download_and_extract
from emloop._support.fetch import sanitize_url

__all__ = ["maybe_download_and_extract", "sanitize_url"]
