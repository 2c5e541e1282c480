"""A folder of downloaded files, unpacked where they are archives; calling again does only what is missing.

Beside a file ``NAME`` lies ``.NAME.json``, which says where it came from, its hash, and whether it has been unpacked.
So an extraction that failed is made up for, a file that was replaced is unpacked again, and no two URLs share a file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from emloop.errors import DownloadError, UsageError

from .download import MAX_BYTES, TIMEOUT, download, fingerprint, shown
from .extract import archive_kind, extract
from .files import atomic_write, sha256_of

__all__ = ["fetch", "file_names", "sanitize_url"]

logger = logging.getLogger(__name__)


def sanitize_url(url: str) -> str:
    """A file name for what a URL leads to: the last part of its path, of which only ``A-Za-z0-9_.-`` are kept.

    Where the path has nothing that can be kept, the parts of the whole URL are tried from behind.

    Raises:
        UsageError: If there is no such part.
    """
    try:
        path = urlsplit(url).path
    except ValueError:
        path = ""
    for part in [*reversed(path.split("/")), *reversed(url.split("/"))]:
        name = re.sub(r"[^A-Za-z0-9_.-]", "", part)
        if name.strip("."):
            return name
    raise UsageError(f"{url!r} has no part that could be a file's name")


def file_names(urls: Sequence[str]) -> list[str]:
    """A file name for each of several URLs, different ones for different URLs.

    The first one keeps the name that :func:`sanitize_url` gives; later ones of that name are told apart by a hash.
    """
    owners: dict[str, str] = {}
    names = []
    for url in urls:
        name = sanitize_url(url)
        # File systems may not tell upper from lower case.
        if owners.setdefault(name.casefold(), url) != url:
            stem, dot, suffixes = name.partition(".")
            name = f"{stem}-{fingerprint(url)[:8]}{dot}{suffixes}"
        names.append(name)
    return names


def fetch(
    data_root: str | os.PathLike[str],
    url: str,
    *,
    sha256: str | None = None,
    name: str | None = None,
    extract_archive: bool = True,
    max_bytes: int = MAX_BYTES,
    timeout: float = TIMEOUT,
) -> None:
    """Download a file into a folder and, if it is a zip or tar file, unpack it there; what is done already is left out.

    Args:
        data_root: The folder; made with its parents if it is missing.
        url: ``https://…``; ``http://…`` only with a hash, or from this machine.
        sha256: Hash that the file must have. A file that is there with another one is downloaded again.
        name: Its name in the folder, instead of the one that :func:`sanitize_url` finds.
        extract_archive: Whether to unpack archives.
        max_bytes: Size that the file must not exceed.
        timeout: Seconds without a byte after which to give up.

    Raises:
        DownloadError: If it cannot be downloaded, or is not the file that was expected.
        ArchiveError: If it is an archive that cannot be, or must not be, unpacked.
        OSError: If the folder cannot be written to.
    """
    root = Path(data_root)
    root.mkdir(parents=True, exist_ok=True)
    target = root / (sanitize_url(url) if name is None else name)
    if target.is_dir():
        logger.info("\t%s already exists; skipping", target)
        return
    with _alone(root):
        record = _there(target, url, sha256)
        if record is None:
            logger.info("\tdownloading %s", target)
            digest = download(url, target, sha256=sha256, max_bytes=max_bytes, timeout=timeout)
            if sha256 is None:
                logger.info("\tthe sha256 of %s is %s; pin it in the config", target.name, digest)
            record = _record(target, url, digest)
            _write(target, record)
        if extract_archive and not record.extracted:
            _extract(target, record)


def _extract(target: Path, record: _Record) -> None:
    if archive_kind(target.name) is None:
        logger.info("\t%s could not be extracted: it is no zip or tar file, so it stays as it is", target)
        return
    logger.info("\textracting %s", target)
    extract(target, target.parent)
    record.extracted = True
    _write(target, record)


@dataclass
class _Record:
    """What is known of a file that was downloaded.

    Args:
        url: Where it came from, as far as it may be told.
        source: Fingerprint of the whole URL.
        sha256: Its hash.
        size: Its size in bytes.
        modified: When it was last modified, in nanoseconds; with the size it tells whether it is still the same.
        extracted: Whether it has been unpacked.
    """

    url: str
    source: str
    sha256: str
    size: int
    modified: int
    extracted: bool = False


def _there(target: Path, url: str, sha256: str | None) -> _Record | None:
    """What is known of the file, if it is there and is the one that is wanted.

    Raises:
        DownloadError: If it came from another URL, and no hash says whether that matters.
    """
    if not target.is_file():
        return None
    record = _read(target)
    if record is None:
        record = _record(target, url, sha256_of(target))
    if sha256 is not None and record.sha256 != sha256.lower():
        logger.warning("\t%s has the sha256 %s, not the pinned one; downloading it again", target, record.sha256)
        return None
    if sha256 is None and record.source != fingerprint(url):
        raise DownloadError(
            f"{target} was downloaded from {record.url}, not from {shown(url)}; "
            "remove it, or tell by a sha256 which file is meant"
        )
    logger.info("\t%s already exists; skipping", target)
    return record


def _record(target: Path, url: str, digest: str) -> _Record:
    status = target.stat()
    return _Record(shown(url), fingerprint(url), digest, status.st_size, status.st_mtime_ns)


def _record_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.json")


def _read(target: Path) -> _Record | None:
    """The record of a file that has not changed since; ``None`` where there is none."""
    try:
        record = _Record(**json.loads(_record_path(target).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    status = target.stat()
    return record if (record.size, record.modified) == (status.st_size, status.st_mtime_ns) else None


def _write(target: Path, record: _Record) -> None:
    atomic_write(_record_path(target), json.dumps(asdict(record)))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process downloads into a folder, and keep others waiting meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("\tanother process is downloading into %s; waiting for it", folder)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            # Some network file systems lock no folders; then nobody waits.
            if error.errno not in (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOTSUP):
                raise
        yield
    finally:
        os.close(descriptor)
