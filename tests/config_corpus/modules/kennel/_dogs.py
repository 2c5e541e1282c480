"""Dogs."""

from pets import Pets

__all__ = ["Dogs"]


class Dogs(Pets):
    def barking_stream(self): ...


class Wolves(Pets): ...
