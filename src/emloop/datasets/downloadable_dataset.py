"""A dataset whose files ``emloop dataset download CONFIG`` brings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from emloop._support.download import MAX_BYTES
from emloop._support.fetch import fetch, file_names
from emloop._support.suggest import did_you_mean
from emloop.errors import ConfigError, Problem

from .base_dataset import BaseDataset

__all__ = ["Download", "DownloadableDataset"]


@dataclass(frozen=True)
class Download:
    """A file to download.

    Args:
        url: Its address; ``http`` only with a hash, or from this machine.
        sha256: Hash that it must have, hexadecimal. Without one, nobody notices when it changes.
        name: Name to store it under, instead of the last part of the URL's path.
        extract: Whether to unpack it if it is a zip or tar file.
        max_bytes: Limit on its size.

    Raises:
        ConfigError: If the hash or the name cannot be one.
    """

    url: str
    sha256: str | None = None
    name: str | None = None
    extract: bool = True
    max_bytes: int = MAX_BYTES

    def __post_init__(self) -> None:
        if self.sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", str(self.sha256)):
            raise ConfigError.about("download_urls", f"expected a sha256 of 64 hexadecimal digits, got {self.sha256!r}")
        if self.name is not None and (self.name in ("", ".", "..") or not {"/", "\0"}.isdisjoint(self.name)):
            raise ConfigError.about("download_urls", f"expected a plain file name, got {self.name!r}")


class DownloadableDataset(BaseDataset):
    """Base of datasets made of downloaded files.

    .. code-block:: yaml

        dataset:
          class: digits.Digits
          data_root: data
          download_urls:
            - url: https://host/digits.tar.gz
              sha256: 5d41...

    ``emloop dataset download CONFIG`` downloads what is missing into ``data_root`` and unpacks zip and tar files there;
    files already there are left alone. Needs ``pip install 'emloop[download]'``.

    A subclass hands on the arguments that it does not take itself, or overrides the properties :attr:`data_root` and
    :attr:`download_urls`:

    .. code-block:: python

        class Digits(el.DownloadableDataset):
            def _configure_dataset(self, batch_size=32, **kwargs):
                super()._configure_dataset(**kwargs)
                self._batch_size = batch_size
    """

    _data_root: str | None = None
    _download_urls: Sequence[str | Download | Mapping[str, Any]] | None = None

    # Positional, since subclasses written for 0.2 hand them on so.
    def _configure_dataset(  # type: ignore[override]
        self,
        data_root: str | None = None,
        download_urls: Sequence[str | Download] | None = None,
        *,
        output_dir: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember where the files come from and where they go.

        Args:
            data_root: Folder for the files, relative to the working directory.
            download_urls: URLs, or mappings with the fields of :class:`Download`.
            output_dir: The run directory, which is not used.
            **kwargs: Arguments that no subclass has taken.

        Raises:
            ConfigError: If there are any such arguments.
        """
        del output_dir
        if kwargs:
            raise ConfigError(_unknown(type(self).__name__, name) for name in sorted(kwargs))
        self._data_root = data_root
        self._download_urls = download_urls

    @property
    def data_root(self) -> str:
        """Folder that holds the files.

        Raises:
            ConfigError: If it is not configured.
        """
        if self._data_root is None:
            raise ConfigError(f"{type(self).__name__} needs the argument 'data_root': a folder for its files")
        return self._data_root

    @property
    def download_urls(self) -> Sequence[str | Download | Mapping[str, Any]]:
        """What to download; see :class:`Download`.

        Raises:
            ConfigError: If it is not configured.
        """
        if self._download_urls is None:
            raise ConfigError(f"{type(self).__name__} needs the argument 'download_urls': a list of URLs")
        return self._download_urls

    def download(self) -> None:
        """Download and unpack what is missing.

        Raises:
            ConfigError: If the source or the destination is not configured.
            DownloadError: If a file cannot be downloaded, or is not the expected one.
            ArchiveError: If an archive cannot be, or must not be, unpacked.
            MissingExtraError: If something is missing and pooch is not installed.
        """
        wanted = [_download(item) for item in self.download_urls]
        names = file_names([item.url for item in wanted])
        for item, name in zip(wanted, names, strict=True):
            fetch(
                self.data_root,
                item.url,
                sha256=item.sha256,
                name=item.name or name,
                extract_archive=item.extract,
                max_bytes=item.max_bytes,
            )


def _download(item: str | Download | Mapping[str, Any]) -> Download:
    """An item of ``download_urls`` in one form."""
    if isinstance(item, Download):
        return item
    if isinstance(item, str):
        return Download(item)
    known = [field.name for field in fields(Download)]
    if not isinstance(item, Mapping) or "url" not in item or set(item) - set(known):
        raise ConfigError.about("download_urls", f"expected a URL, or a mapping of {', '.join(known)}, got {item!r}")
    return Download(**item)


def _unknown(owner: str, name: str) -> Problem:
    accepted = ("data_root", "download_urls")
    hints = (*did_you_mean(name, accepted), f"beside its own, {owner} takes: {', '.join(accepted)}")
    return Problem(f"unknown argument {name!r}", path=owner, hints=hints)
