"""Processes for command lines, as :mod:`subprocess` makes them, at a tenth of the price.

``Processes`` has ``run`` and ``Popen`` with the arguments and results of their namesakes. A command for Python (``-m``
or ``-c``) whose environment asks for one thread (``OMP_NUM_THREADS``) is forked from a process that has most imports
behind it (``fork_server.py``); anything else, and everything on macOS, is started the usual way.

Where a fresh interpreter is itself the promise (what it imports, how quick it is, which seed its hashes have), use
:mod:`subprocess`.
"""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

FORKING = sys.platform == "linux"
LOOSE = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
"""Settings of Python's that a child can follow after its start."""
AT_IMPORT = ("JAX_", "KERAS_", "TF_")
"""Beginnings of settings that frameworks read when they are imported."""

EMLOOP = [sys.executable, "-P", "-m", "emloop"]
"""The console script, which does not put its working directory first on the import path."""


def without_shell(command: str) -> list[str]:
    """The words of a command, if it is ``emloop`` and leaves nothing to a shell; else its call by the shell."""
    unquoted = re.sub(r"'[^']*'|\"[^\"$`\\]*\"", "", command)
    if re.search(r"[|&;<>()$`\\*?{}\[\]#]", unquoted) or not command.startswith("emloop "):
        return ["bash", "-c", command]
    return [*EMLOOP, *shlex.split(command)[1:]]


class Processes:
    """Starts processes; one server serves all that are alike."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def run(
        self,
        arguments,
        *,
        input=None,  # noqa: A002 - subprocess calls it so
        capture_output=False,
        timeout=None,
        check=False,
        **options,
    ):
        """Like :func:`subprocess.run`."""
        if input is not None:
            options["stdin"] = subprocess.PIPE
        if capture_output:
            options["stdout"] = options["stderr"] = subprocess.PIPE
        with self.Popen(arguments, **options) as process:
            try:
                out, err = process.communicate(input, timeout=timeout)
            except BaseException:
                process.kill()
                raise
        if check and process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args, out, err)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def Popen(self, arguments, *, env=None, **options) -> subprocess.Popen[Any]:
        """Like :class:`subprocess.Popen`."""
        arguments = [os.fspath(argument) for argument in arguments]
        env = dict(os.environ if env is None else env)
        safe_path = arguments[1:2] == ["-P"]
        rest = arguments[1 + safe_path :]
        if not (FORKING and arguments[0] == sys.executable and rest[:1] in (["-m"], ["-c"]) and _is_ordinary(env)):
            return subprocess.Popen(arguments, env=env, **options)
        return _Forked(self, {"arguments": rest, "safe_path": safe_path}, arguments, env=env, **options)

    def fork(self, request: dict[str, Any], fds: list[int]) -> None:
        """Send a request to the server, which is started where there is none."""
        data = json.dumps(request).encode()
        with self._lock:
            if self._server is None:
                self._start()
            socket.send_fds(self._control, [struct.pack("I", len(data))], fds)
            self._control.sendall(data)

    def _start(self) -> None:
        self._control, other = socket.socketpair()
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        command = [sys.executable, Path(__file__).with_name("fork_server.py"), str(other.fileno())]
        # Hashes of texts as `emloop train` has them, so that no child begins anew for their sake.
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        threads["TF_CPP_MIN_LOG_LEVEL"] = "2"
        threads["JE_ARROW_MALLOC_CONF"] = "background_thread:false"  # of pyarrow, which Keras imports
        self._server = subprocess.Popen(
            command, pass_fds=[other.fileno()], env={**env, **threads}, stdin=subprocess.DEVNULL
        )
        other.close()

    def close(self) -> None:
        """End the server, and no process that it has started."""
        if self._server is not None:
            self._control.close()
            self._server.wait()
            self._server = None


def _is_ordinary(env: dict[str, str]) -> bool:
    """Whether an environment asks for what the server is."""
    local = {name for name in {*env, *os.environ} if name == "LANG" or name.startswith("LC_")}
    return (
        env.get("OMP_NUM_THREADS") == "1"
        and all(env.get(name) == os.environ.get(name) for name in local)
        and not {name for name in env if name.startswith("PYTHON")} - LOOSE
        and all(env.get(name) == os.environ.get(name) for name in {*env, *os.environ} if name.startswith(AT_IMPORT))
    )


class _Forked(subprocess.Popen):
    """A process that the server has for a child; it tells us number and end of it."""

    def __init__(self, processes: Processes, request: dict[str, Any], arguments, **options) -> None:
        self._processes, self._request = processes, request
        super().__init__(arguments, **options)

    def _execute_child(self, *arguments) -> None:
        # The names are those of Popen's own method.
        (_, _, preexec_fn, _, pass_fds, cwd, env, _, _, shell, *pipes) = arguments[:16]
        p2cread, _, _, c2pwrite, _, errwrite = pipes
        if preexec_fn or pass_fds or shell:
            raise ValueError("a fork has neither preexec_fn nor pass_fds nor a shell; use subprocess")
        new_session = arguments[-2]
        request = {**self._request, "cwd": os.fspath(cwd or Path.cwd()), "env": env, "new_session": new_session}
        self._ending, status = os.pipe()
        fds = [own if own != -1 else number for number, own in enumerate((p2cread, c2pwrite, errwrite))]
        try:
            self._processes.fork(request, [*fds, status])
        finally:
            os.close(status)
        self.pid = struct.unpack("q", os.read(self._ending, 8))[0]
        self._child_created = True
        self._close_pipe_fds(*pipes)

    def _internal_poll(self, *_, **__):
        return self._look(0)

    def _wait(self, timeout):
        if self._look(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def _has_ended(self, timeout):
        # Unlike `select`, it takes descriptors beyond 1,023.
        waiting = select.poll()
        waiting.register(self._ending, select.POLLIN)
        return bool(waiting.poll(None if timeout is None else timeout * 1000))

    def _look(self, timeout):
        if self.returncode is None and self._has_ended(timeout):
            # Without a server, nobody knows.
            data = os.read(self._ending, 8)
            self.returncode = struct.unpack("q", data)[0] if data else -9
            os.close(self._ending)
        return self.returncode
