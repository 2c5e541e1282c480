"""``emloop new``: start a project that trains.

The files of every project are in ``template/`` beside this module. A backend, found in the entry points
``emloop.backends``, adds those in ``template/`` of its package. The ending ``.in`` is dropped; ``@name@`` and
``@package@`` are replaced, also in names of files.

Examples:
    emloop new spirals
    emloop new spirals --backend sklearn
"""

import importlib.util
import json
import keyword
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from emloop._config import load_config
from emloop._config.schema import config_schema
from emloop._support.suggest import pick
from emloop.constants import EL_CONFIG_FILE, EXIT_DONE
from emloop.errors import RunDirError, UsageError

from .. import render

_COMMON = Path(__file__).parent / "template"
_SCHEMA = Path(".vscode", "emloop.schema.json")
_DISGUISE = ".in"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("directory", metavar="NAME", help="directory to make; its name is the project's")
    parser.add_argument("--backend", metavar="NAME", help="backend to use; needed where several are installed")


def run(arguments: Namespace) -> int:
    """Run the command."""
    return new(arguments.directory, arguments.backend)


def new(directory: str, backend: str | None) -> int:
    """Write a project: config, dataset, model, test, and what an editor needs.

    Args:
        directory: The directory to make; its name is the project's.
        backend: Name of the backend; ``None`` if only one is installed.

    Returns:
        The exit code.

    Raises:
        UsageError: If there is no such backend, or the name does not suit a project.
        RunDirError: If the directory is not empty, or cannot be written.
    """
    target = Path(directory)
    name = target.resolve().name
    words = {"@name@": name, "@package@": _package(name)}
    template = _template(backend)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RunDirError(f"{target} exists and is not empty; choose another name")
    _check_free(words["@package@"])
    try:
        for path, text in {**dict(_files(_COMMON)), **dict(_files(template))}.items():
            file = target / _filled(path, words)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_filled(text, words), encoding="utf-8")
        # The project's own classes are in it.
        schema = config_schema(load_config(target / EL_CONFIG_FILE), [str(target.resolve())])
        (target / _SCHEMA).write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise RunDirError(f"{target}: cannot write a project there: {error}") from error
    render.say(f"Made {target}. Next:\n  cd {target}\n  emloop train {EL_CONFIG_FILE}")
    return EXIT_DONE


def _template(backend: str | None) -> Path:
    offers = {
        point.name: folder for point in entry_points(group="emloop.backends") if (folder := _folder(point)) is not None
    }
    if not offers:
        raise UsageError("no backend with a template is installed: pip install 'emloop[sklearn]'")
    if backend is None:
        if len(offers) > 1:
            raise UsageError(f"name a backend: --backend {' | '.join(sorted(offers))}")
        return next(iter(offers.values()))
    return pick("--backend", backend, offers)


def _folder(point: EntryPoint) -> Path | None:
    """Find the template of a backend without importing it; ``None`` if it has none."""
    spec = importlib.util.find_spec(point.module.partition(".")[0])
    folders = (Path(place, "template") for place in (spec.submodule_search_locations if spec else None) or ())
    return next((folder for folder in folders if folder.is_dir()), None)


def _package(name: str) -> str:
    """Turn the name of a project into that of a Python package."""
    package = re.sub(r"\W+", "_", name.lower(), flags=re.ASCII).strip("_")
    if not package.isidentifier() or keyword.iskeyword(package):
        raise UsageError(f"{name!r} is no name for a project; begin with a letter, and go on with letters and digits")
    return package


def _check_free(package: str) -> None:
    spec = importlib.util.find_spec(package)
    # A folder that happens to have the name is no module, and gives way to one.
    if package in sys.stdlib_module_names or (spec is not None and spec.origin is not None):
        raise UsageError(f"there is a module {package!r} already, which would be imported instead; choose another name")


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the path to write, and the content, of every file in a folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(folder).as_posix().removesuffix(_DISGUISE), path.read_text(encoding="utf-8")


def _filled(text: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text
