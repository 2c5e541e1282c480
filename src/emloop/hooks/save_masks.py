"""Write masks, such as those of a segmentation, as images."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emloop._contracts import AbstractHook
from emloop._support.files import atomic_write
from emloop.declare import File, Names, Variable
from emloop.errors import ConfigError, HookError, VariableTypeError
from emloop.types import Batch

from ._checks.arguments import extra_module, optional_name_list, output_path
from ._variables.batches import read_variable
from ._variables.values import check_same_count

__all__ = ["SaveMasks"]

_LOGGER = logging.getLogger(__name__)


class SaveMasks(AbstractHook):
    """Write an image file for every example's mask.

    .. code-block:: yaml

        hooks:
          - SaveMasks:
              mask_variable: masks
              path_variable: image_paths
              output_root: masks
              streams: [test]

    Args:
        mask_variable: Name of the variable with the masks: numbers or booleans ``[H, W]`` or ``[H, W, C]`` for every
            example, with 1, 3 or 4 channels ``C`` in OpenCV's order (blue, green, red, opacity); ``[H]`` is a column
            of pixels.
        path_variable: Name of the variable with the path of every example's file, without ``suffix``.
        factor: Factor of the masks' values; the result is rounded and limited to 0 … 255, NaN becomes 0.
        output_root: Folder that no path may leave; a relative one starts in the run directory.
        suffix: What to append to the paths; its extension determines the format.
        streams: Names of the streams whose masks are written; all by default.
        output_dir: The run directory.

    Raises:
        MissingExtraError: If Pillow is not installed, which comes with Matplotlib.
    """

    stateless = True
    reads = (Variable("{mask_variable}", stream="{streams}"), Variable("{path_variable}", stream="{streams}"))
    writes = (File("{output_root}/<{path_variable}>{suffix}", stream="{streams}"),)

    def __init__(
        self,
        mask_variable: str,
        path_variable: str,
        factor: float = 255.0,
        output_root: str = "",
        suffix: str = "_mask.png",
        *,
        streams: Names | None = None,
        output_dir: str | None = None,
    ) -> None:
        super().__init__()
        self._pillow = extra_module("PIL.Image", extra="plots", who="SaveMasks")
        formats = self._pillow.registered_extensions()
        extension = Path(f"mask{suffix}").suffix.lower()
        if extension not in formats:
            raise ConfigError.about(
                "suffix", f"expected one that ends like an image file, e.g. '_mask.png', got {suffix!r}"
            )
        self._mask_variable = mask_variable
        self._path_variable = path_variable
        self._factor = factor
        self._root = output_path("output_root", output_root, output_dir)
        self._suffix = suffix
        self._format = formats[extension]
        self._streams = optional_name_list("streams", streams)

    def after_batch(self, stream_name: str, batch_data: Batch) -> None:
        """Write the batch's masks.

        Raises:
            MissingVariableError: If the batch lacks a variable.
            VariableTypeError: If masks are no images, or paths no paths.
            BatchError: If there is not a path for every mask.
            HookError: If a path leads out of ``output_root``.
            OSError: If a file cannot be written.
        """
        if self._streams is not None and stream_name not in self._streams:
            return
        names = (self._mask_variable, self._path_variable)
        masks, paths = (read_variable(batch_data, stream_name, name) for name in names)
        check_same_count(stream_name, dict(zip(names, (masks, paths), strict=True)))
        for mask, path in zip(np.asarray(masks) if hasattr(masks, "__array__") else masks, paths, strict=True):
            image = io.BytesIO()
            self._pillow.fromarray(self._pixels(mask)).save(image, format=self._format)
            target = self._target(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(target, image.getvalue())
        _LOGGER.debug("%d masks written below %s", len(masks), self._root)

    def _pixels(self, mask: Any) -> npt.NDArray[np.uint8]:
        array = np.asarray(mask)
        is_image = array.ndim in (1, 2) or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
        if array.dtype.kind not in "biuf" or not is_image:
            raise VariableTypeError(
                f"variable {self._mask_variable!r}: expected numbers of shape [H], [H, W] or [H, W, C] with 1, 3 "
                f"or 4 channels per example, got {array.dtype} values of shape {array.shape}"
            )
        pixels = np.clip(np.rint(np.nan_to_num(array * self._factor)), 0, 255).astype(np.uint8)
        if pixels.ndim == 1 or pixels.shape[2:] == (1,):
            return pixels.reshape(len(pixels), -1)
        # Pillow wants red first.
        return pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]])

    def _target(self, path: Any) -> Path:
        if not isinstance(path, (str, bytes, os.PathLike)):
            raise VariableTypeError(f"variable {self._path_variable!r}: expected paths, got {path!r:.80}")
        target = Path(f"{self._root / os.fsdecode(path)}{self._suffix}")
        if not target.resolve().is_relative_to(self._root.resolve()):
            raise HookError(
                f"variable {self._path_variable!r}: {os.fsdecode(path)!r} leads out of output_root, {self._root}"
            )
        return target
