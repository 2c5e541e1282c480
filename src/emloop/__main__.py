"""``python -m emloop`` is the command ``emloop``."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        # `-m` puts the working directory first, where a file could take the place of any module.
        del sys.path[0]
    from emloop.entry_point import entry_point

    entry_point()
