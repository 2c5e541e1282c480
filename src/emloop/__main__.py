"""``python -m emloop`` is the command ``emloop``."""

import sys


def _main() -> None:
    if not sys.flags.safe_path:
        # `-m` puts the working directory first, where a file could take the place of any module.
        del sys.path[0]
    from emloop.entry_point import entry_point  # noqa: PLC0415

    entry_point()


if __name__ == "__main__":
    _main()
