"""Every installed backend keeps every promise."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from emloop.errors import MissingExtraError
from emloop.testing import BackendContract, installed_backends

_SPEC = importlib.util.spec_from_file_location("contract_cases", Path(__file__).with_name("cases.py"))
CASES = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(CASES)


@pytest.fixture(scope="class")
def _installed(request):
    """Skip what needs a framework that is not there."""
    try:
        installed_backends()[request.cls.backend].load()
    except MissingExtraError as missing:
        pytest.skip(str(missing))


@pytest.mark.usefixtures("_installed")
class TestScikitLearn(BackendContract):
    """Estimators: what they are is what they have learned."""

    backend = "sklearn"
    cases = CASES.SKLEARN_CASES


@pytest.mark.usefixtures("_installed")
class TestPyTorch(BackendContract):
    """A network on each rung, the highest that is correct."""

    backend = "torch"
    cases = CASES.TORCH_CASES


@pytest.mark.torture
@pytest.mark.usefixtures("_installed")
class TestPyTorchZoo(BackendContract):
    """Networks of every other kind."""

    backend = "torch"
    cases = CASES.TORCH_ZOO


@pytest.mark.slow
@pytest.mark.usefixtures("_installed")
class TestTensorFlow(BackendContract):
    """A network of Keras, and one of plain variables."""

    backend = "tensorflow"
    cases = CASES.TENSORFLOW_CASES


@pytest.mark.slow
@pytest.mark.usefixtures("_installed")
class TestJax(BackendContract):
    """Networks that are trained by the very program that is saved."""

    backend = "jax"
    cases = CASES.JAX_CASES


@pytest.mark.torture
@pytest.mark.usefixtures("_installed")
class TestTensorFlowZoo(BackendContract):
    """Networks of every other kind."""

    backend = "tensorflow"
    cases = CASES.TENSORFLOW_ZOO


@pytest.mark.torture
@pytest.mark.usefixtures("_installed")
class TestJaxZoo(BackendContract):
    """Networks of every other kind."""

    backend = "jax"
    cases = CASES.JAX_ZOO


def test_every_registered_backend_is_tried():
    """None is offered that this file does not know."""
    tried = {cls.backend for cls in (TestScikitLearn, TestPyTorch, TestTensorFlow, TestJax)}

    assert set(installed_backends()) == tried
