"""What all tests share: the same surroundings, whatever the machine and the shell they run in."""

from __future__ import annotations

import pytest
from hypothesis import settings

# A busy machine may take any time for one example.
settings.register_profile("emloop", deadline=None)
settings.load_profile("emloop")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    """Nothing that the caller's shell says about emloop changes a test."""
    monkeypatch.delenv("EMLOOP_OUTPUT_DIR_FORMAT", raising=False)
