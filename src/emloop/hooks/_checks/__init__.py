"""Checks that hooks share: of arguments, of states, of variables, and of packages that may be missing."""
