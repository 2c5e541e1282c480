"""The usual cures for errors that PyTorch raises about batches, which name neither the source nor a way out."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

__all__ = ["cures"]

_CURES: tuple[tuple[str, str], ...] = (
    (
        "Expected more than 1 value per channel",
        (
            "one value is not enough for a normalisation over the batch: leave out a last batch of one example, or of "
            "one for some process (drop_last: true where the stream is made), or choose another batch size"
        ),
    ),
    (
        (
            r"Target -?\d+ is out of bounds|index out of range in self|index -?\d+ is out of bounds|device-side assert|"
            r"Class values must be smaller"
        ),
        "an index must be from 0 to the number of classes, or of rows of an embedding, less 1; {integers}",
    ),
    (
        (
            r"expected scalar type Long|expected target dtype to be Long|Expected dtype int32/int64 for index|"
            r"index tensor of type|"
            r"(nll_loss|cross_entropy)\S* not implemented for|"
            r"to have one of the following scalar types: Long|tensors used as indices must be long"
        ),
        ("an index is wanted where there are floats: give labels and tokens as integers, e.g. .astype(numpy.int64)"),
    ),
    (
        (
            r"expected scalar type (Float|Double|Half|BFloat16) but found|result type \w+ can't be cast|"
            r"Found dtype \w+ but expected \w+|"
            r"must have the same dtype|only Tensors of floating point|not implemented for '(Long|Int|Byte|Bool)'|"
            r"Input type .* and (weight|bias) type .* should be the same"
        ),
        "floats are wanted where there is something else: convert, e.g. .float() or .astype(numpy.float32)",
    ),
    (
        r"mat1 and mat2 shapes cannot be multiplied|size mismatch, got input|must be equal to input_size",
        "a layer's in_features must be the last size of what it is given: adapt it, or flatten the source",
    ),
    (
        r"to have \d+ channels, but got|Expected \dD \(unbatched\) or \dD \(batched\) input",
        "convolutions take the channels first, [B, C, H, W]: permute the source, or add the axis that lacks",
    ),
    (
        "0D or 1D target tensor expected|target with class probabilities",
        "labels have an axis too many: one class index for every example, [B], e.g. labels[:, 0] or labels.argmax(1)",
    ),
    (
        "all elements of input should be between 0 and 1",
        "this loss takes probabilities; of logits, take binary_cross_entropy_with_logits",
    ),
    (
        "Expected to have finished reduction",
        (
            "the loss does not depend on all parameters: set model.distributed={{find_unused_parameters: true}}, "
            "or freeze those that it does not depend on"
        ),
    ),
    (
        "got mixed torch.Tensor and DTensor",
        (
            "a part of the module is sharded by itself, and used without being called, or by a hook: name in "
            "model.distributed={{wrap: […]}} only parts that are called, or none: wrap: []"
        ),
    ),
    (
        "Expected all tensors to be on the same device",
        (
            "a tensor that forward makes, or keeps, is on another device: make it with device=x.device, or keep it by "
            "register_buffer"
        ),
    ),
    (
        r"out of memory|can't allocate memory|not enough memory",
        "less fits: a smaller batch with accumulate: 2 or more, precision: bf16, or fewer outputs",
    ),
    (
        "does not require grad and does not have a grad_fn",
        "the loss depends on no parameter that is trained: look for detach(), item(), no_grad() and frozen parts",
    ),
    (
        "backward through the graph a second time",
        "something of an earlier batch is kept with its graph: keep it by detach()",
    ),
    (
        "modified by an inplace operation",
        "forward changes in place what the gradient needs: x = x + 1 instead of x += 1, ReLU() without inplace",
    ),
    (
        (
            r"The size of tensor a \(\d+\) must match the size of tensor b|shape '\[.*\]' is invalid for input|"
            r"Sizes of tensors must match|input batch_size \(\d+\) to match target batch_size"
        ),
        (
            "two shapes do not fit each other: compare those above with what forward expects; the last batch may be "
            "smaller"
        ),
    ),
)


def cures(error: BaseException, inputs: Mapping[str, torch.Tensor]) -> list[str]:
    """What usually helps, if the error is one of the usual ones.

    Args:
        error: The error.
        inputs: The batch, on the device.
    """
    text = str(error)
    found = next((cure for pattern, cure in _CURES if re.search(pattern, text)), None)
    if found is None:
        return []
    integers = [_range_of(name, x) for name, x in inputs.items() if not (x.is_floating_point() or x.is_complex())]
    return [found.format(integers=", ".join(integers) or "no source has any")]


def _range_of(name: str, tensor: torch.Tensor) -> str:
    dtype = str(tensor.dtype).rpartition(".")[2]
    # A device that has failed cannot be asked.
    known = tensor.device.type == "cpu" and tensor.numel()
    return f"{name} is {dtype}" + (f" from {int(tensor.min())} to {int(tensor.max())}" if known else "")
