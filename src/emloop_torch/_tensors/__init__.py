"""Tensors: from batches to a device and back, in state trees, from random generators.

Nothing here knows of programs, optimizers or configurations.
"""
