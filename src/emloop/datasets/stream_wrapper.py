"""The public path of the stream wrapper."""

from emloop._streams import StreamWrapper

__all__ = ["StreamWrapper"]
