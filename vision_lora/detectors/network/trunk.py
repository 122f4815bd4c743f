"""Trunk: what both passes compute alike is computed once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class Trunk:
    """Remembers what layers in front of the first adapted one gave in one pass, and gives it again in the next.

    A part of the network without adapted layers is a function of its inputs alone. While they are the very same
    objects as before, so is its output; behind the first adapted layer they never are. Nothing about the network's
    architecture has to be known for that. A result that someone has changed in place since is computed anew.

    Args:
        network: the network.
        adapted: its layers whose weights differ between the passes.
    """

    def __init__(self, network: nn.Module, adapted: Collection[nn.Module]) -> None:
        parts: dict[int, nn.Module] = {}
        _collect(network, {id(layer) for layer in adapted}, parts)
        self._parts = list(parts.values())
        self._proven = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Within this context, passes over the same pictures share the trunk."""
        memories = [_Memory(part) for part in self._parts]
        try:
            yield
        finally:
            for memory in memories:
                memory.close()
        if not self._proven:  # parts behind an adapted layer never hit: they need not be watched again
            self._parts = [memory.part for memory in memories if memory.hit]
            self._proven = True


class _Memory:
    """Stands in for the forward of one part."""

    def __init__(self, part: nn.Module) -> None:
        self.part = part
        self.hit = False
        self._own = part.__dict__.get("forward")  # some networks replace an instance's forward
        self._compute: Callable[..., Any] = part.forward
        self._call: tuple[Any, Any] | None = None
        self._output: Any = None
        self._versions: list[int] = []
        part.forward = self.forward

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        call = (args, kwargs)
        if self._call is not None and _same(call, self._call) and _versions(self._output) == self._versions:
            self.hit = True
            return self._output
        self._output = self._compute(*args, **kwargs)
        self._call, self._versions = call, _versions(self._output)
        return self._output

    def close(self) -> None:
        if self._own is None:
            del self.part.__dict__["forward"]
        else:
            self.part.forward = self._own


def _collect(module: nn.Module, adapted: set[int], parts: dict[int, nn.Module]) -> bool:
    """Add the largest parts of `module` without adapted layers; tells whether it has any adapted one."""
    if id(module) in adapted:
        return True
    inner: dict[int, nn.Module] = {}
    whole = [child for child in module.children() if not _collect(child, adapted, inner)]
    touched = len(whole) < len(list(module.children()))
    if touched:
        parts.update({id(part): part for part in whole} | inner)
    return touched


def _same(one: Any, other: Any) -> bool:
    """Whether two calls have the same objects as arguments; containers are compared by what they hold."""
    if one is other:
        return True
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return False
    return type(one) is type(other) and isinstance(one, (bool, int, float, str)) and one == other


def _versions(output: Any) -> list[int]:
    """How often each tensor of an output was changed in place."""
    if isinstance(output, Tensor):
        return [output._version]
    values = output.values() if isinstance(output, dict) else output if isinstance(output, (list, tuple)) else ()
    return [version for value in values for version in _versions(value)]
