"""The command that writes a model for another runtime, and its comparison with the original."""
