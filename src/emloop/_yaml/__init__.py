"""YAML text ↔ nodes that know where they stand.

``documents`` is the front: reading, constructing plain data, writing. Nothing here knows a word of emloop's domain.
"""
