"""A model without a framework keeps what is promised of trainings on several processes."""

from __future__ import annotations

import pytest

from emloop.testing import RanksContract


class TestToy(RanksContract):
    """A linear model, and processes that talk over sockets."""

    def pytest_generate_tests(self, metafunc):
        """The case is a fixture."""

    @pytest.fixture
    def case(self, toy):
        """The only one."""
        return toy

    @pytest.fixture
    def world(self, world):
        """With processes that are forked."""
        return world
