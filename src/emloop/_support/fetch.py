"""Fill a folder with downloads, unpacked where they are archives; a second call does only what is missing.

Beside a file ``NAME`` lies ``.NAME.json``: where it came from, its hash, and whether it has been unpacked. So a failed
extraction is made up for, a file that was replaced is unpacked again, and no two URLs share a file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from emloop.errors import DownloadError, UsageError

from .download import MAX_BYTES, download, shown
from .extract import extract, is_archive
from .files import atomic_write, sha256_of

__all__ = ["fetch", "file_names", "sanitize_url"]

logger = logging.getLogger(__name__)


def sanitize_url(url: str) -> str:
    """A file name for what a URL leads to: the last part of its path, reduced to ``A-Za-z0-9_.-``.

    If nothing in the path can be kept, the parts of the whole URL are tried, last first.

    Raises:
        UsageError: If no part can be a name.
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
    """A file name for each URL, different ones for different URLs.

    The first of a name keeps what :func:`sanitize_url` gives; later ones are told apart by a hash.
    """
    owners: dict[str, str] = {}
    names = []
    for url in urls:
        name = sanitize_url(url)
        # File systems may ignore case.
        if owners.setdefault(name.casefold(), url) != url:
            stem, dot, suffixes = name.partition(".")
            name = f"{stem}-{_fingerprint(url)[:8]}{dot}{suffixes}"
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
) -> None:
    """Download a file into a folder and unpack it there if it is a zip or tar file, unless that is done already.

    Args:
        data_root: The folder; created with its parents if it is missing.
        url: ``https://…``; ``http://…`` only with a hash, or from this machine.
        sha256: Hash that the file must have. An existing file with another one is downloaded again.
        name: File name, instead of what :func:`sanitize_url` gives.
        extract_archive: Whether to unpack archives.
        max_bytes: Limit on the size of the file.

    Raises:
        DownloadError: If the file cannot be downloaded, or is not the expected one.
        ArchiveError: If it is an archive that cannot be, or must not be, unpacked.
        MissingExtraError: If there is something to download and pooch is not installed.
        OSError: If the folder cannot be written to.
    """
    sha256 = sha256 and sha256.lower()
    root = Path(data_root)
    root.mkdir(parents=True, exist_ok=True)
    target = root / (sanitize_url(url) if name is None else name)
    if target.is_dir():
        logger.info("\t%s already exists; skipping", target)
        return
    with _alone(root):
        record = _existing(target, url, sha256)
        if record is None:
            logger.info("\tdownloading %s", target)
            digest = download(url, target, sha256=sha256, max_bytes=max_bytes)
            if sha256 is None:
                logger.info("\tthe sha256 of %s is %s; pin it in the config", target.name, digest)
            record = _Record(shown(url), _fingerprint(url), digest, _stamp(target))
            record.write(target)
        if not extract_archive or record.extracted:
            return
        if not is_archive(target.name):
            logger.info("\t%s could not be extracted: it is no zip or tar file, so it stays as it is", target)
            return
        logger.info("\textracting %s", target)
        extract(target, root)
        record.extracted = True
        record.write(target)


@dataclass
class _Record:
    """What is known of a downloaded file.

    Args:
        url: Where it came from, without secrets.
        source: Fingerprint of the whole URL.
        sha256: Its hash.
        stamp: Its :func:`_stamp` when that was so.
        extracted: Whether it has been unpacked.
    """

    url: str
    source: str
    sha256: str
    stamp: list[int]
    extracted: bool = False

    def write(self, target: Path) -> None:
        atomic_write(_record_path(target), json.dumps(asdict(self)))


def _existing(target: Path, url: str, sha256: str | None) -> _Record | None:
    """The record of the wanted file, if that is there.

    Raises:
        DownloadError: If it came from another URL, and no hash says that this does not matter.
    """
    if not target.is_file():
        return None
    try:
        record = _Record(**json.loads(_record_path(target).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        record = None
    if record is None or record.stamp != _stamp(target):
        record = _Record(shown(url), _fingerprint(url), sha256_of(target), _stamp(target))
    if sha256 not in (None, record.sha256):
        logger.warning("\t%s has the sha256 %s, not the pinned one; downloading it again", target, record.sha256)
        return None
    if sha256 is None and record.source != _fingerprint(url):
        raise DownloadError(
            f"{target} was downloaded from {record.url}, not from {shown(url)}; "
            "remove it, or tell by a sha256 which file is meant"
        )
    logger.info("\t%s already exists; skipping", target)
    return record


def _record_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.json")


def _stamp(target: Path) -> list[int]:
    """Size and time of modification, which change with the content."""
    status = target.stat()
    return [status.st_size, status.st_mtime_ns]


def _fingerprint(url: str) -> str:
    """Tells URLs apart, and nothing of what they hold."""
    return hashlib.sha256(url.encode(errors="surrogatepass")).hexdigest()


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Keep other processes from downloading into a folder meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("\tanother process is downloading into %s; waiting for it", folder)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            logger.debug("%s cannot be locked, as on some network file systems", folder)
        yield
    finally:
        os.close(descriptor)
