"""Which kinds of uncertainty a model cannot give and why, from its file and without PyTorch.

They are those that the engine refuses (`dycon_engine.inference.uncertainty`); a test compares them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import IO, Any

LONGEST_HEADER = 2**23  # of the weights, as in dycon_engine.package.weights
_LENGTH = struct.Struct("<Q")
_PARTNER = b'"partner.'  # how the names of the second network's tensors begin


def holds_partner(weights: IO[bytes]) -> bool | None:
    """Return whether there is another network beside the one that segments, student or teacher.

    Args:
        weights: weights.safetensors, at its beginning; only its header is read.

    Returns:
        None where the header cannot be read.
    """
    start = weights.read(_LENGTH.size)
    length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else LONGEST_HEADER + 1
    if length > LONGEST_HEADER:
        return None
    header = weights.read(length)
    return _PARTNER in header if len(header) == length else None


def refused_kinds(raw: Mapping[str, Any], *, has_partner: bool | None) -> dict[str, str]:
    """Return why a kind of uncertainty is not possible, by kind; what is not known is possible.

    Args:
        raw: The description of a model.
        has_partner: From `holds_partner`.
    """
    reasons = {
        "disagreement": _no_disagreement(raw, has_partner),
        "mc-dropout": _no_dropout(raw),
        "tta": _no_mirrors(raw),
    }
    return {kind: reason for kind, reason in reasons.items() if reason}


def _no_disagreement(raw: Mapping[str, Any], has_partner: bool | None) -> str:
    composition = raw.get("composition")
    kind = composition.get("kind") if isinstance(composition, dict) else "single"
    is_one = has_partner is False and kind == "single"
    return "the model holds one network only" if is_one else ""


def _no_dropout(raw: Mapping[str, Any]) -> str:
    network = raw.get("network")
    rate = network.get("dropout") if isinstance(network, dict) else None
    return "the model was trained without dropout" if rate == 0 else ""


def _no_mirrors(raw: Mapping[str, Any]) -> str:
    training = raw.get("training")
    axes = training.get("mirrored_axes") if isinstance(training, dict) else None
    if not isinstance(axes, str) or not set(axes) <= set("zyx"):
        return "the model does not say along which axes its training mirrored scans"
    return "" if axes else "the model was trained without mirrored scans"
