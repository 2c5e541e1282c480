"""The promises of every backend, as tests that run over any of them.

.. code-block:: python

    from emloop.testing import BackendContract, Case


    class TestMyBackend(BackendContract):
        cases = [Case("linear", model={"class": "Linear", "inputs": [...], "outputs": [...]}, source=..., dataset=...)]
"""

from emloop.errors import MissingExtraError

try:
    import pytest
except ModuleNotFoundError as error:
    raise MissingExtraError("emloop.testing", "testing") from error

# Before they are imported, so that a promise that is broken shows both sides.
pytest.register_assert_rewrite(*(f"{__name__}.{module}" for module in ("running", "saving", "source_free")))

from .backend_contract import BackendContract  # noqa: E402
from .case import Case, installed_backends  # noqa: E402

__all__ = ["BackendContract", "Case", "installed_backends"]
