"""Python classes, read from their source without importing them.

A file becomes a summary of plain data (cached by the file's stamp), a :class:`~emloop._source.library.Library` follows
names through imports and re-exports, and signatures, annotations and docstrings are read from there.
"""
