"""What is made of large files once, and kept in the user's cache as long as they stay as they are."""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from emloop._source.cache import cache_directory

__all__ = ["kept"]

logger = logging.getLogger(__name__)


def kept(files: Mapping[str, Mapping[str, Any]], what: Sequence[Any], make: Callable[[Path], None], said: str) -> Path:
    """A folder that was made of files; made now if it has to be.

    Args:
        files: Absolute path → what tells whether it has changed; if there is none, or with ``EMLOOP_CACHE=off``, the
            folder is for this process alone.
        what: What else the folder depends on, as JSON.
        make: Fills the folder.
        said: What to say before.
    """
    names = hashlib.sha256(json.dumps([*files]).encode()).hexdigest()[:16]
    stamp = hashlib.sha256(json.dumps([*files.values()], sort_keys=True).encode()).hexdigest()[:16]
    rest = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
    cache = cache_directory() if files else None
    base = None if cache is None else Path(cache, "data")
    if base is not None:
        base.mkdir(parents=True, exist_ok=True)
        wanted = base / f"{names}-{stamp}-{rest}"
        if wanted.is_dir():
            return wanted
    folder = Path(tempfile.mkdtemp(prefix=".", dir=base))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if files:
        logger.info("%s, once, into %s", said, base or folder)
    make(folder)
    if base is None:
        return folder
    with suppress(OSError):  # another process was faster
        folder.rename(wanted)
    for old in base.glob(f"{names}-*"):
        if old.name.split("-")[1] != stamp:
            shutil.rmtree(old, ignore_errors=True)  # made of what the files were before
    return wanted
