"""Steps: pure functions of arrays, made of a network, an optimizer and what the configuration says of both.

Nothing here knows of programs, saved models or runs.
"""
