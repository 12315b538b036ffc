"""Which volume of the scene is which input of a model, guessed from names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from DyCONLib.models import Channel

_SEPARATORS = re.compile(r"[\s._-]+")


def preselect(
    channels: Sequence[Channel], volumes: Sequence[Any], chosen: Sequence[Any]
) -> tuple[Any, ...]:
    """Return a volume (or None) per channel.

    What a person chose stays. Otherwise a volume fits whose name ends with the pattern of the
    channel or holds its name as words; none is taken twice. A model of one channel takes the only
    volume there is.

    Args:
        channels: Of the model.
        volumes: Those of the scene.
        chosen: What is chosen now, per channel; may be shorter.
    """
    kept = [*chosen, *[None] * len(channels)][: len(channels)]
    for index, channel in enumerate(channels):
        free = [volume for volume in volumes if all(volume is not other for other in kept)]
        if kept[index] is None:
            kept[index] = next((v for v in free if _fits(v.GetName() or "", channel)), None)
    if len(channels) == 1 and kept[0] is None and len(volumes) == 1:
        kept[0] = volumes[0]
    return tuple(kept)


def _fits(name: str, channel: Channel) -> bool:
    if channel.pattern and name.casefold().endswith(channel.pattern.casefold()):
        return True
    words, wanted = _words(name), _words(channel.name)
    return bool(wanted) and any(
        words[at : at + len(wanted)] == wanted for at in range(len(words) - len(wanted) + 1)
    )


def _words(text: str) -> list[str]:
    return [word for word in _SEPARATORS.split(text.casefold()) if word]
