"""Tensors on their ways: from batches to a device and back, into state trees, out of generators.

Nothing here knows of programs, optimizers or configurations.
"""
