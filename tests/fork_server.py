"""A process that has imported what children need, and forks one for every command line that a test wants run.

Started by ``processes.py`` with the number of a socket. Only its speed tells a child from ``python -m …`` or
``python -c …``: directory, environment, arguments, import path, signals, session and outputs are its own, random
numbers are drawn anew, and a module that waits here is not in ``sys.modules`` before the child imports it. Only the
seed of hashes is the server's. A child leaves a note of what it has imported, so that the next finds that waiting.

No thread may run in the server, so nothing is computed here, and every library is told to use one.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import gc
import importlib.abc
import io
import json
import linecache
import os
import random
import runpy
import selectors
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
import types
import weakref
from pathlib import Path
from typing import TextIO

SOURCE = Path(__file__).parents[1] / "src"
OURS = {"emloop"}
"""Not the backends: importing one tells the core of its random numbers."""

THEIRS = {
    *("joblib", "mpmath", "networkx", "numpy", "pygments", "rich", "safetensors", "scipy", "skops", "sklearn", "sympy"),
    *("threadpoolctl", "torch", "torchgen", "functorch", "yaml", "_yaml", "PIL", "cycler", "dateutil", "fontTools"),
    *("kiwisolver", "matplotlib", "packaging", "pyparsing"),
    *("absl", "flax", "jax", "jaxlib", "keras", "ml_dtypes", "optax", "opt_einsum", "tensorflow", "triton"),
}
"""What may be imported without a thread being started."""


def top(name: str) -> str:
    return name.partition(".")[0]


class Waiting(importlib.abc.MetaPathFinder):
    """Hides modules that are ready, and hands them out to whoever imports them.

    A library comes as a whole; a module of ours with those that it refers to, as if it had imported them.
    """

    def __init__(self, libraries: dict[str, dict[str, types.ModuleType]]) -> None:
        homes = (Path(path) for path in sys.path if Path(path, "emloop").is_dir())
        # Another checkout's modules are not what waits here; nothing refers to what is left out.
        ours = next(homes, None) == SOURCE
        self._libraries = libraries if ours else {name: each for name, each in libraries.items() if name not in OURS}
        sys.meta_path.insert(0, self)

    def find_spec(self, fullname, path=None, target=None):
        module = self._libraries.get(top(fullname), {}).get(fullname)
        spec = copy.copy(getattr(module, "__spec__", None))
        if spec is not None:
            spec.loader = Ready(module, self.hand_out)
        return spec

    def hand_out(self, name: str) -> None:
        waiting = self._libraries.get(top(name), {})
        if top(name) in THEIRS:
            modules = self._libraries.pop(top(name), {})
            sys.modules.update(modules)
            if "numpy.random" in modules:
                sys.modules["numpy.random"].seed()
            if "torch" in modules:
                sys.modules["torch"].default_generator.seed()
        elif name in waiting:
            module = sys.modules[name] = waiting.pop(name)
            self.hand_out(name.rpartition(".")[0])
            for value in list(vars(module).values()):
                home = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
                if isinstance(home, str) and home in self._libraries.get(top(home), {}):
                    self.hand_out(home)


class Ready(importlib.abc.Loader):
    """Loads a module by handing it out; in all else it is the loader that the module came from."""

    def __init__(self, module, hand_out) -> None:
        self._module, self._spec, self._hand_out = module, module.__spec__, hand_out

    def create_module(self, spec):
        return self._module

    def exec_module(self, module):
        module.__spec__ = self._spec
        self._hand_out(module.__name__)

    def __getattr__(self, name):
        return getattr(self._spec.loader, name)


class Server:
    """Forks until nobody listens any more."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._path = list(sys.path)
        self._libraries: dict[str, dict[str, types.ModuleType]] = {}
        self._notes = Path(tempfile.mkdtemp())
        self._statuses: dict[int, int] = {}
        self._wakeup, wakes = os.pipe()
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._wakes = wakes

    def serve(self):
        """Return, in a child, what it was asked for."""
        selector = selectors.DefaultSelector()
        selector.register(self._control, selectors.EVENT_READ)
        selector.register(self._wakeup, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is self._wakeup:
                    os.read(self._wakeup, 4096)
                    self._report()
                    continue
                request, fds = receive(self._control)
                if request is None:
                    sys.exit()
                pid = os.fork()
                if not pid:
                    selector.close()
                    self._become_a_child(fds)
                    return request
                *outputs, status = fds
                for fd in outputs:
                    os.close(fd)
                self._statuses[pid] = status
                os.write(status, struct.pack("q", pid))

    def _report(self) -> None:
        """Tell how children have ended."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, code = ended
                status = self._statuses.pop(pid)
                with contextlib.suppress(BrokenPipeError):
                    os.write(status, struct.pack("q", os.waitstatus_to_exitcode(code)))
                os.close(status)
                self._learn(self._notes / str(pid))

    def _learn(self, note: Path) -> None:
        """Import what a child had to."""
        if not note.exists():
            return
        known = {*sys.modules}.union(*self._libraries.values())
        names = [name for name in note.read_text().split() if name not in known]
        note.unlink()
        if not names:
            return
        for modules in self._libraries.values():
            sys.modules.update(modules)
        sys.path[:] = [str(SOURCE), *self._path]
        # Behind TensorFlow it would end the process, see emloop_tensorflow.
        for name in (*["triton"] * ("tensorflow" in names), *names):
            # What only half works in isolation is imported by each child.
            with contextlib.suppress(Exception):
                __import__(name)
        # Hidden here and not in each child, which would get a copy of every page that has a module on it.
        self._libraries = {library: {} for library in OURS | THEIRS}
        for name in [name for name in sys.modules if top(name) in self._libraries]:
            self._libraries[top(name)][name] = sys.modules.pop(name)
        for finalizer in list(weakref.finalize._registry):
            finalizer.atexit = False  # PyTorch's take a tenth of a second, to tidy up what ends with the process
        gc.collect()
        gc.freeze()

    def _become_a_child(self, fds: list[int]) -> None:
        signal.set_wakeup_fd(-1)
        for fd in (self._wakeup, self._wakes, *self._statuses.values()):
            os.close(fd)
        self._control.close()
        for target, fd in enumerate(fds[:3]):
            os.dup2(fd, target)
        for fd in fds:
            os.close(fd)
        # What was ignored when the server began, as below nohup, stays ignored, as in any new process.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, self._interrupted)

    def run(self, request) -> int:
        """Be the process that was asked for; the code with which it ends."""
        note = self._notes / str(os.getpid())
        if request["new_session"]:
            os.setsid()
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        time.tzset()
        random.seed()
        sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in os.environ
        if "PYTHONUNBUFFERED" in os.environ:
            sys.stdout, sys.stderr = (_unbuffered(output) for output in (sys.stdout, sys.stderr))
        kind, what, *rest = request["arguments"]
        own = [] if request["safe_path"] else [{"-c": "", "-m": str(Path.cwd())}[kind]]
        sys.path[:] = [*own, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *self._path]
        importlib.invalidate_caches()
        sys.orig_argv[:] = [sys.executable, kind, what, *rest]
        sys.argv[:] = [kind, *rest]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        main.__builtins__ = sys.modules["builtins"]
        if kind == "-c" and sys.version_info >= (3, 13):  # tracebacks show its lines
            linecache.cache["<string>"] = len(what), None, what.splitlines(keepends=True), "<string>"
        Waiting(self._libraries)
        code = _ended(lambda: runpy._run_module_as_main(what) if kind == "-m" else exec(what, vars(main)))
        note.with_suffix(".part").write_text("\n".join(filter(_may_wait, sys.modules)))
        note.with_suffix(".part").rename(note)
        return code


def _unbuffered(output: TextIO) -> TextIO:
    raw = io.FileIO(output.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(raw, output.encoding, output.errors, write_through=True)


def _may_wait(name: str) -> bool:
    return top(name) in OURS | THEIRS | sys.stdlib_module_names and top(name) != "__main__"


def _ended(work) -> int:
    """Do the work and all that a process does at its end, and return its exit code."""
    code = 0
    try:
        work()
    except SystemExit as stop:
        code = stop.code
        if code is None or isinstance(code, bool):
            code = int(bool(code))
        elif not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException as error:  # noqa: BLE001 - whatever the interpreter itself would report
        place = error.__traceback__
        while place is not None and place.tb_frame.f_code.co_filename == __file__:
            place = place.tb_next
        sys.excepthook(type(error), error.with_traceback(place), place)
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for output in (sys.stdout, sys.stderr):
        try:
            output.flush()
        except OSError:
            code = code or 120
    return code


def receive(control: socket.socket):
    """A request and the descriptors that come with it; neither if the other side has gone."""
    head, fds, _, _ = socket.recv_fds(control, 4, 4)
    if not head:
        return None, []
    length = struct.unpack("I", head)[0]
    return json.loads(control.recv(length, socket.MSG_WAITALL)), fds


def _main() -> None:
    del sys.path[0]
    server = Server(socket.socket(fileno=int(sys.argv[1])))
    code = server.run(server.serve())
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code & 0xFF)


if __name__ == "__main__":
    _main()
