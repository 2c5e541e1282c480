"""Reading and writing YAML under the names of 0.2.

Reading resolves anchors and merge keys; neither they nor comments are written back.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from emloop._support.files import atomic_write
from emloop._yaml.documents import dump, load, load_file

__all__ = ["load_yaml", "reload", "yaml_to_file", "yaml_to_str"]


def load_yaml(yaml_file: str | os.PathLike[str]) -> Any:
    """The content of a YAML file as dictionaries, lists and scalars.

    Raises:
        ConfigFileError: If the file cannot be read.
        ConfigError: If it is not YAML; says where.
    """
    return load_file(Path(yaml_file))


def yaml_to_str(data: Any) -> str:
    """Data as YAML text."""
    return dump(data)


def yaml_to_file(data: Any, output_dir: str | os.PathLike[str], name: str) -> str:
    """Write data as YAML into a directory and return the file's path; an existing file is replaced atomically."""
    path = Path(output_dir, name)
    atomic_write(path, dump(data))
    return str(path)


def reload(data: Any) -> Any:
    """The data after a round trip through YAML."""
    return load(dump(data))
