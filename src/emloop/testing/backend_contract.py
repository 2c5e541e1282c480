"""All promises, tried on the cases of a backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import pytest

from .case import Case, World
from .predictions import Predictions
from .running import Running
from .saving import Saving
from .source_free import SourceFree

__all__ = ["BackendContract"]


class BackendContract(Running, Saving, SourceFree, Predictions):
    """Every promise of a backend; derive a class called ``Test…`` and list its cases.

    Attributes:
        cases: Models and datasets to try the promises on.
    """

    cases: ClassVar[Sequence[Case]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each test once for every case."""
        if "case" in metafunc.fixturenames and metafunc.cls is not None:
            cases: Sequence[Case] = metafunc.cls.cases
            metafunc.parametrize("case", cases, ids=[case.name for case in cases], scope="class")

    @pytest.fixture(autouse=True)
    def _applies(self, case: Case, request: pytest.FixtureRequest) -> None:
        name = request.function.__name__.removeprefix("test_")
        unknown = [known for known in case.not_applicable if not hasattr(self, f"test_{known}")]
        assert not unknown, f"Case {case.name}: not_applicable: there is no promise {', '.join(unknown)}"
        if name in case.not_applicable:
            pytest.skip(f"{case.name}: {case.not_applicable[name]}")

    @pytest.fixture(scope="class")
    @classmethod
    def world(cls, case: Case, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
        """The case on disk, its modules importable."""
        world = World(case, tmp_path_factory.mktemp("world"))
        with world.importable():
            yield world
