"""What may be behind a difference, and what mends it."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["of_a_resume", "of_another_run"]

_CLOCK = "what depends on a set's order, the clock, os.urandom, uuid or secrets is another one in each run"
_THREADS = (
    "global random numbers that several threads draw come in another order each time, and those that one draws ahead "
    "are lost by a resume"
)
_KERNELS = (
    "sums that a device adds in any order differ in their last bits: model.deterministic=true, where the backend has it"
)


def of_another_run(kind: str, name: str, drawing: Sequence[str]) -> Sequence[str]:
    """Why a run differs from another one that nobody has touched either.

    Args:
        kind: Of the difference.
        name: Of the stream, hook or file.
        drawing: Streams that draw global random numbers, as the run knows.
    """
    suspects = [f"stream {stream!r} draws from them" for stream in drawing]
    match kind:
        case "source" | "stream":
            remedy = f"draw random numbers from self.rng({name!r}), and sort what comes from a set"
            return [remedy, _THREADS, *suspects, _CLOCK]
        case "output" | "model":
            return [_KERNELS, _CLOCK, "seed generators of your own from the run's seed"]
        case "random":
            return [_THREADS, *suspects, "let a stream draw from self.rng(NAME) instead"]
        case "file":
            return ["a time belongs into the log, or into a file of its own, and not into epoch_data", _CLOCK]
    remedies = [f"let stream {stream!r} draw from self.rng({stream!r}) instead" for stream in drawing]
    return [*([_THREADS, *suspects, *remedies] if drawing else []), _CLOCK]


def of_a_resume(kind: str, name: str) -> Sequence[str]:
    """Why a run differs after a resume.

    Args:
        kind: Of the difference.
        name: Of the stream, hook or file.
    """
    match kind:
        case "source" | "stream":
            return [
                f"a stream's random numbers come from self.rng({name!r}), and its position from nothing else",
                _THREADS,
            ]
        case "output" | "model":
            return ["state_dict of the model has to hold all that training depends on: schedule, counters, generators"]
        case "hook" | "file":
            return [
                "state_dict of a hook has to hold all that it remembers",
                "no resume cuts back a file that a hook adds rows to: put them into epoch_data, or write the file anew",
            ]
        case "random":
            return [_THREADS]
    return []
