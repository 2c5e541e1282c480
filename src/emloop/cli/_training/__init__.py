"""Commands that run what a config describes."""
