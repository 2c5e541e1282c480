"""Stands where a framework would be found, and must never be imported by a check."""

raise AssertionError("the check has imported a framework")
