"""Checks that hooks share: of arguments, of states, and of variables that are missing or of the wrong kind."""
