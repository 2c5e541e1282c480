"""How large the house may be: code lines of each room, and files to a folder.

``python tests/architecture/test_budget.py`` prints what stands, ready to be copied into ``ROOMS``.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = {
    "emloop": 80,  # what `load` returns
    "emloop.__main__": 10,  # nothing is imported from where one stands
    "emloop._build": 300,  # what cannot be imported, or made, is replaced; capsules; what needs no config; workers
    "emloop._config": 2465,  # stand-ins; configs of 0.2, arguments of optimizers too; streams of arguments; strangers'
    "emloop._contracts": 305,  # what weighs what; predicting; importances; gathering; what is watched; processes
    "emloop._ranks": 643,  # joining launchers; messages; columns gathered when somebody looks; rows that each writes
    "emloop._registry": 214,  # backends come first; what packages import; nothing from a run; old names; makers
    "emloop._reporter": 840,  # table, bar, running means, summary; terminal, notebook, plain; errors of user code
    # What runs are judged and found by, or why not; configs shared; time spent; steps; read-only runs refused at once;
    # what a run without a commit cannot begin anew without; links that a fork keeps; commits that are gone.
    "emloop._run_dir": 1887,
    "emloop._settings": 1265,  # what classes and functions accept, read, write; why others' fail; old names; makers
    "emloop._source": 1045,  # functions; what a class takes from its **kwargs, and needs; decorators that note a class
    "emloop._state": 1132,  # what a run keeps once; equal at a glance; memory touched early; what a state looks like
    "emloop._streams": 1669,  # numbered items; read again; handed over in C, as bytes; gate; signals; loaders; shares
    "emloop._support": 1266,  # extras; links that copies keep; what leads out of a directory; signals; moved arguments
    "emloop._verifying": 846,  # `verify`: untouched runs, a resume from every commit, kills; naming what differs
    "emloop._yaml": 795,
    "emloop.abilities": 28,  # the protocols' public path
    "emloop.api": 376,  # who trusts a source; when workers begin and end; a run in a notebook; who follows rank 0
    "emloop.arguments": 50,  # the one reader of declared settings for all backends
    "emloop.cli": 4463,  # `find-lr`, `show`, `dataset show`, `ensemble`, `doctor`, `verify`, `profile`; processes
    "emloop.constants": 40,
    "emloop.datasets": 1745,  # tables, arrays, images, texts, frames; dividing, drawing, transforming; tokenizers
    "emloop.declare": 90,  # names of old, and what all classes take
    "emloop.entry_point": 65,  # begins anew with fixed hashes of texts, unless watched; Ctrl-C, and what nobody reads
    "emloop.errors": 115,
    "emloop.hooks": 3800,  # metrics by name; importances; evaluations inside epochs; weighted statistics; best models
    "emloop.interrupting": 5,
    "emloop.main_loop": 2230,  # epochs of their own; facts to show, and watched; evaluations inside epochs; commits
    "emloop.models": 420,  # what weighs what; whose source may run; members that predict; files of other runtimes
    "emloop.parameters": 157,  # patterns, `init_from`, what a state must match, clipping: once for all backends
    "emloop.predictor": 245,  # whatever a model comes from, one line loads it, and says what does not fit
    "emloop.profiling": 35,  # traces of single batches, once for all backends
    "emloop.ranks": 5,
    "emloop.saved_models": 906,  # what a run keeps once; what inputs are, or lack; the capsule, what of it may run
    "emloop.seeding": 5,
    "emloop.suggest": 5,
    "emloop.testing": 1036,  # every failure names the promise, what was seen, and the fix; predictions; processes
    "emloop.types": 20,
    "emloop.utils": 200,
    "emloop_jax": 1432,  # exported steps, batches of any size; compiled once; programs, checked; shipping; the model
    "emloop_jax._steps": 545,  # networks of Flax and of functions; one step with all it can do; names of arrays
    "emloop_onnx": 125,
    "emloop_sklearn": 935,  # what a state has; columns; weights; ONNX; how much features count
    "emloop_sklearn._archives": 300,  # estimators as bytes, and trees that are sound
    "emloop_sklearn._boosting": 555,  # learning by epochs; tables; LightGBM and XGBoost, kept as checked text
    "emloop_tensorflow": 1465,  # the model, its parts from source or a program, settings; networks of configs; files
    "emloop_tensorflow._graphs": 1031,  # what is traced, named, kept, undone, frozen; failures; programs, checked
    "emloop_tensorflow._training": 570,  # steps in graphs: schedules, windows, means; signals, traces; several devices
    "emloop_tensorflow.hooks": 5,  # paths of 0.2
    "emloop_torch": 1520,  # networks of others, or what is gone of them; whose optimizers; what may draw; cures; falls
    "emloop_torch._programs": 1560,  # what graphs write and draw, branches on buffers; several losses; views cut out
    "emloop_torch._proofs": 1540,  # what Python code can reach, put back to the bit; losses; what forward hands on
    "emloop_torch._ranks": 968,  # who lives, has failed, waits for whom; whole gradients; models cut in parts
    "emloop_torch._running": 508,  # the roles of inputs; whether code of one's own draws; what a model takes and gives
    "emloop_torch._tensors": 1100,  # metrics; frozen bases, what thaws; what an optimizer remembers; means; shares
    "emloop_torch._training": 1255,  # whole states; several optimizers, by rule; averages of two kinds; no compiler
}
"""The code lines that a room may have. A higher number comes with its reason, behind it, on the same line."""

FILES_OF_A_FOLDER = 12
LARGE_FOLDERS = {
    "emloop": 19,  # public names, most of them a line or two, that have to stand at the front door
    "emloop/datasets": 15,  # one file a dataset
    "emloop/hooks": 34,  # one file a hook
    "emloop/_run_dir": 15,  # one file for each of a run directory's; how runs are judged, and found by it
    "emloop/_source": 14,
    "emloop/main_loop": 15,  # epochs; what a run is told by, and how far an epoch has come, beside what the loop does
    "emloop/_support": 16,  # whom to trust, and what a signal ends, is asked everywhere
}
"""Folders that may hold more, and why."""

LIKE_LIBRARIES = {
    *("_config", "_settings", "_source", "_streams", "_yaml", "hooks/_tensorboard"),
    *("_run_dir/append.py", "_state/commit.py", "_state/lock.py", "_state/tree.py"),
}
"""Parts below ``src/emloop`` that need no package and do what some package could."""

TWINS = {
    "emloop.hooks.save_cm",  # a public path of 0.2, as are the next two
    "emloop.hooks.save_file",
    "emloop.hooks.save_masks",
    "emloop_torch._programs.program_module",
}
"""Modules that may be named after a neighbour plus a suffix."""


def sizes_of(modules):
    """The code lines of every room."""
    sizes = Counter()
    for module in modules:
        sizes[module.room] += module.code_lines
    return sizes


def test_a_room_keeps_to_its_budget(modules):
    """What is new makes room by what it replaces, or says why the house has to grow."""
    over = {room: size for room, size in sizes_of(modules).items() if size > ROOMS.get(room, 0)}

    assert over == {}


def test_a_budget_belongs_to_a_room_that_is_there(modules):
    """What has gone leaves no allowance behind."""
    assert set(ROOMS) - set(sizes_of(modules)) == set()


def test_what_a_library_could_do_has_its_reason(modules):
    """Every part that is our own although it need not be stands in a table, with what a library would cost."""
    page = (ROOT / "docs" / "explanation" / "decisions.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `([\w/.]+)` \|", page, flags=re.MULTILINE))

    def size(part):
        return sum(module.code_lines for module in modules if is_in(module, part))

    assert {part for part in LIKE_LIBRARIES - told if size(part) > 150} == set()
    assert {part for part in told if not size(part)} == set()


def is_in(module, part):
    path = module.path.relative_to(ROOT / "src" / "emloop").as_posix() if module.name.startswith("emloop.") else ""
    return path == part or path.startswith(f"{part}/")


def test_a_folder_can_be_taken_in_at_a_glance(modules):
    """At most a dozen files, ``__init__`` included."""
    counts = Counter(module.path.parent.relative_to(ROOT / "src").as_posix() for module in modules)

    assert {name: count for name, count in counts.items() if count > LARGE_FOLDERS.get(name, FILES_OF_A_FOLDER)} == {}


def test_no_file_is_named_after_another_plus_a_suffix(modules):
    """An idea that needs two files has two names, or a folder."""
    names = {module.name for module in modules}
    twins = {name for name in names if is_twin(name, names)}

    assert twins - TWINS == set()


def is_twin(name, names):
    folder, _, stem = name.rpartition(".")
    words = stem.split("_")
    return any(f"{folder}.{'_'.join(words[:count])}" in names for count in range(1, len(words)))


if __name__ == "__main__":
    from conftest import all_modules

    for room, size in sorted(sizes_of(all_modules()).items()):
        print(f'    "{room}": {size},')
