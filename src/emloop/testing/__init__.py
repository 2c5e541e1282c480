"""The promises of every backend as tests, whose failures name the promise and the fix.

.. code-block:: python

    from emloop.testing import BackendContract, Case


    class TestMyBackend(BackendContract):
        cases = [Case("linear", model={"class": "Linear", "inputs": [...], "outputs": [...]}, source=..., dataset=...)]
"""

from emloop.errors import MissingExtraError

try:
    import pytest  # noqa: F401 - so that its absence is one clear line
except ModuleNotFoundError as error:
    raise MissingExtraError("emloop.testing", "testing") from error

from .backend_contract import BackendContract
from .case import Case, installed_backends
from .ranks import RanksCase, RanksContract

__all__ = ["BackendContract", "Case", "RanksCase", "RanksContract", "installed_backends"]
