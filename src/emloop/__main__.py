"""``python -m emloop`` is the command ``emloop``."""

from emloop.entry_point import entry_point

if __name__ == "__main__":
    entry_point()
