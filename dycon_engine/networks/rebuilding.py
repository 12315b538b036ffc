"""Activations that are made again in the backward pass instead of being kept until then.

What autograd keeps of a network is mostly its normalised activations, which a few cheap operations
make again from the convolutions' results, and sums of them. `remember` says how a tensor was made;
inside `rebuilt_activations` autograd then keeps the recipe in its place, whichever operation saves
it. The values are those of the forward pass up to rounding; memory is about halved.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

Build = Callable[..., Tensor]
_local = threading.local()


class Recipe:
    """How to make a tensor again; keeps it only between its first and its last use."""

    def __init__(self, build: Build, parts: tuple[Recipe | Tensor, ...]) -> None:
        self.uses = 0
        self._build = build
        self._parts = parts
        self._made: Tensor | None = None

    def make(self) -> Tensor:
        """Return the tensor without counting this as one of its uses."""
        if self._made is not None:
            return self._made
        with torch.no_grad():
            parts = [p.make() if isinstance(p, Recipe) else p for p in self._parts]
            return self._build(*parts)

    def use(self) -> Tensor:
        """Return the tensor for one of the operations that saved it."""
        made = self.make()
        self.uses -= 1
        self._made = made if self.uses > 0 else None
        return made


class _Entry(NamedTuple):
    storage: StorageWeakRef
    version: int
    numel: int
    recipe: Recipe


class _Saved(NamedTuple):
    """What autograd keeps; the operation may have saved a view of the tensor."""

    recipe: Recipe
    shape: torch.Size
    stride: tuple[int, ...]


class _Recipes:
    """The recipes of one forward pass, found by the place of their tensor in memory."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}

    def add(self, tensor: Tensor, recipe: Recipe) -> None:
        storage = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
        entry = _Entry(storage, tensor._version, tensor.numel(), recipe)
        self._entries[tensor.data_ptr()] = entry

    def find(self, tensor: Tensor) -> Recipe | None:
        """Return the recipe of `tensor`, unless it is another one at the same place."""
        entry = self._entries.get(tensor.data_ptr())
        if entry is None or entry.storage.expired():  # type: ignore[no-untyped-call]
            return None
        same = tensor.numel() == entry.numel and tensor._version == entry.version
        return entry.recipe if same else None

    def pack(self, tensor: Tensor) -> Tensor | _Saved:
        recipe = self.find(tensor)
        if recipe is None:
            return tensor.detach()  # a result that holds its own graph is never freed
        recipe.uses += 1
        return _Saved(recipe, tensor.shape, tensor.stride())


def _unpack(saved: Tensor | _Saved) -> Tensor:
    if isinstance(saved, Tensor):
        return saved
    return saved.recipe.use().as_strided(saved.shape, saved.stride)


@contextmanager
def rebuilt_activations() -> Iterator[None]:
    """Keep recipes instead of the tensors that `remember` is told of, in this thread."""
    before, recipes = getattr(_local, "recipes", None), _Recipes()
    _local.recipes = recipes
    try:
        with saved_tensors_hooks(recipes.pack, _unpack):
            yield
    finally:
        _local.recipes = before


def remember(tensor: Tensor, build: Build, *parts: Tensor) -> Tensor:
    """Return `tensor`, which `build(*parts)` makes again with the same layout in memory.

    Parts that have a recipe themselves are not kept either. Does nothing outside
    `rebuilt_activations`.
    """
    recipes: _Recipes | None = getattr(_local, "recipes", None)
    if recipes is not None:
        known = tuple(recipes.find(part) or part.detach() for part in parts)
        recipes.add(tensor, Recipe(build, known))
    return tensor
