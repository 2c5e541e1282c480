"""What the main loop makes of a dataset's stream."""

from emloop._streams import StreamWrapper

__all__ = ["StreamWrapper"]
