"""`weights.safetensors`: exactly the tensors the network has, checked before they are read."""

from __future__ import annotations

import math
from collections.abc import Mapping

import safetensors.torch
import torch
from torch import Tensor

from dycon_engine.errors import DamagedFileError, NonFiniteError
from dycon_engine.package.strict_json import read_table

LONGEST_HEADER = 2**23
_DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_LENGTH_BYTES = 8


def encode(tensors: Mapping[str, Tensor]) -> bytes:
    """Return `tensors` as safetensors, the same bytes for the same content.

    Raises:
        NonFiniteError: A tensor holds NaN or infinity.
    """
    check_finite(tensors)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return bytes(safetensors.torch.save({name: plain[name] for name in sorted(plain)}))


def decode(content: memoryview, expected: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Return the tensors in `content`, which must be exactly those of `expected`.

    Args:
        content: The file.
        expected: Tensors (of any device, e.g. meta) whose names, shapes and dtypes must be there.
        what: How messages start.

    Raises:
        DamagedFileError: A tensor is missing, unknown or of another shape or dtype, or the bytes
            are not safetensors.
        NonFiniteError: A tensor holds NaN or infinity.
    """
    _check_header(content, expected, what)
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(bytes(content))
    except Exception as error:  # noqa: BLE001 - the reader's own error is no public class
        raise DamagedFileError(
            f"{what}: unreadable ({type(error).__name__}); get the package again"
        ) from None
    check_finite(tensors, what)
    return tensors


def check_finite(tensors: Mapping[str, Tensor], what: str = "weights") -> None:
    """Raise NonFiniteError naming the first tensor that holds NaN or infinity."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise NonFiniteError(
                f"{what}: tensor '{name}' holds NaN or infinity; such a model cannot be used"
            )


def _check_header(content: memoryview, expected: Mapping[str, Tensor], what: str) -> None:
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if len(content) < _LENGTH_BYTES or length > min(LONGEST_HEADER, len(content) - _LENGTH_BYTES):
        raise DamagedFileError(f"{what}: the header does not fit; get the package again")
    header = read_table(bytes(content[_LENGTH_BYTES : _LENGTH_BYTES + length]), what)
    header.pop("__metadata__", None)
    odd = sorted(set(header) ^ set(expected))
    if odd:
        state = "unexpected" if odd[0] in header else "missing"
        raise DamagedFileError(
            f"{what}: tensor {odd[0][:100]!a} is {state} for this network; get it again"
        )
    size = 0
    for name, tensor in expected.items():
        entry = header[name]
        want = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape)}
        found = {key: entry.get(key) for key in want} if isinstance(entry, dict) else entry
        if found != want:
            raise DamagedFileError(
                f"{what}: tensor '{name}' is {ascii(found)[:200]}, expected {want}; "
                "get the package again"
            )
        size += math.prod(tensor.shape) * tensor.element_size()
    if size != len(content) - _LENGTH_BYTES - length:
        raise DamagedFileError(f"{what}: holds more or less than its tensors; get it again")
