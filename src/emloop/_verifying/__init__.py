"""Prove on a user's own training that every resume is exact: untouched runs, a resume from every batch, real kills."""

from .verification import Certificate, Verification

__all__ = ["Certificate", "Verification"]
