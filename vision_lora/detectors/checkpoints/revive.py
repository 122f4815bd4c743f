"""From the records of a checkpoint to tensors and networks, without running code for it.

Layers of a closed list come to life as `object.__new__` and attributes: no `__init__` runs, and the only
`__setstate__` are those that fill in what older versions did not have. Attributes are plain data, tensors and such
layers. None may hide a method or be a hook, so that whatever a network calls later is its class's own.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from inspect import getattr_static
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from vision_lora.detectors.checkpoints.layer_list import LAYERS
from vision_lora.detectors.checkpoints.torch_file import TorchFile
from vision_lora.detectors.checkpoints.unpickler import Name, Record, RefusedPickleError, Storage, shown

REBUILT = {
    "torch._utils._rebuild_tensor_v2": "_tensor",
    "torch._utils._rebuild_parameter": "_parameter",
    "collections.OrderedDict": "_table",
    "builtins.set": "_set",
    "torch.Size": "_size",
}
METHOD = "builtins.getattr"
# What checkpoints hold beside networks and tensors: options, results, losses. Nobody reads it: it becomes None.
_UNREAD = {
    "ultralytics.utils": "IterableSimpleNamespace",
    "ultralytics.yolo.utils": "IterableSimpleNamespace",
    "ultralytics.utils.loss": "BboxLoss DFLoss E2EDetectLoss E2ELoss FocalLoss VarifocalLoss v10DetectLoss "
    "v8DetectionLoss",
    "ultralytics.utils.tal": "TaskAlignedAssigner",
    "ultralytics.models.utils.loss": "RTDETRDetectionLoss",
    "ultralytics.models.utils.ops": "HungarianMatcher",
    "torch": "bfloat16 device float16 float32 float64 int64",
    "torch.nn.modules.loss": "BCEWithLogitsLoss",
    "numpy": "dtype ndarray",
    "numpy.core.multiarray": "_reconstruct scalar",
    "numpy._core.multiarray": "_reconstruct scalar",
    "pathlib": "PosixPath WindowsPath",
    "pathlib._local": "PosixPath WindowsPath",
    "_codecs": "encode",
}
UNREAD = frozenset(f"{module}.{name}" for module, names in _UNREAD.items() for name in names.split())
ALLOWED = frozenset({*LAYERS, *REBUILT, *UNREAD, METHOD})

_PLAIN = (str, bytes, int, float, bool, type(None))
_TABLES = {"_parameters": nn.Parameter, "_buffers": Tensor, "_modules": nn.Module}
_DEEPEST = 100  # levels in each other; networks have some ten


class Reviver:
    """Makes what records describe, each once.

    Args:
        file: where the records and the tensors' numbers come from.
    """

    def __init__(self, file: TorchFile) -> None:
        self._file = file
        self._made: dict[int, Any] = {}  # by the record's identity, so that what is shared stays shared
        self._bytes = self._depth = 0

    def revive(self, item: Any) -> Any:
        """What an item of `unpickle` stands for.

        Raises:
            RefusedPickleError: it is not what checkpoints hold.
        """
        if type(item) in _PLAIN:
            return item
        if id(item) not in self._made:
            self._depth += 1
            if self._depth > _DEEPEST:
                raise RefusedPickleError("no checkpoint: its parts are too deep in each other")
            made = self._new(item)
            self._made[id(item)] = made
            self._depth -= 1
        return self._made[id(item)]

    def _new(self, item: Any) -> Any:
        if type(item) is tuple:
            return tuple(map(self.revive, item))
        if type(item) is list:
            made = self._made[id(item)] = []  # before what is in it, which may be the list itself
            made.extend(map(self.revive, item))
            return made
        if type(item) is dict:
            return self._fill(item, item, {})
        if type(item) is Record and item.path in LAYERS:
            return self._layer(item)
        if type(item) is Record and item.path in REBUILT and not item.made:
            return getattr(self, REBUILT[item.path])(item, *item.args)
        if type(item) in (Record, Name) and (item.path in UNREAD or item.path == METHOD):
            return None
        raise RefusedPickleError(f"no checkpoint: a {getattr(item, 'path', type(item).__name__)} stands by itself")

    def _fill(self, item: Any, items: dict[Any, Any], made: dict[Any, Any]) -> dict[Any, Any]:
        self._made[id(item)] = made
        for key, value in items.items():
            if type(key) not in _PLAIN:
                raise RefusedPickleError(f"no checkpoint: a table has a {type(key).__name__} as a key")
            made[key] = self.revive(value)
        return made

    def _table(self, record: Record, *args: Any) -> OrderedDict[Any, Any]:
        """An OrderedDict; its attributes (`_metadata` of a state dict) are of no use here."""
        expect(not args, "a table is filled by its making")
        made: OrderedDict[Any, Any] = OrderedDict()
        self._fill(record, record.items, made)
        return made

    def _set(self, _: Record, *args: Any) -> set[Any]:
        expect(len(args) == 1 and type(args[0]) is list and all(type(one) in _PLAIN for one in args[0]), "a set")
        return set(args[0])

    def _size(self, _: Record, *args: Any) -> torch.Size:
        expect(len(args) == 1 and _numbers(args[0]), "a size")
        return torch.Size(args[0])

    def _tensor(self, _: Record, *args: Any) -> Tensor:
        """A tensor; checked here, since torch trusts who calls it."""
        expect(len(args) in (6, 7), "a tensor")
        storage, offset, size, stride, _, hooks = args[:6]
        expect(type(storage) is Storage and _numbers((offset,)) and _numbers(size) and _numbers(stride), "a tensor")
        expect(len(size) == len(stride) <= 16 and _empty(hooks), "a tensor")
        count = math.prod(size)
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        expect(count <= storage.count and (not count or last < storage.count), "a tensor within its storage")
        numbers = self._file.numbers(storage)
        self._bytes += count * numbers.itemsize
        # Tied weights are there twice at most; many views of one storage would take memory that the file never had.
        expect(self._bytes <= 2 * self._file.size, "tensors of the file's own size")
        return numbers.new_empty(0).set_(numbers.untyped_storage(), offset, size, stride)

    def _parameter(self, _: Record, *args: Any) -> nn.Parameter:
        expect(len(args) == 3 and type(args[1]) is bool and _empty(args[2]), "a parameter")
        data = self.revive(args[0])
        expect(type(data) is Tensor and (data.is_floating_point() or not args[1]), "a parameter")
        return nn.Parameter(data, requires_grad=args[1])

    def _layer(self, record: Record) -> nn.Module:
        """A layer of the list, with the attributes that it was saved with."""
        kind, state = LAYERS[record.path], record.state
        expect(record.made and not record.args, f"a {kind.__name__} that is not made by calling it")
        expect(type(state) is dict and not record.items, f"the state of a {kind.__name__}")
        layer = self._made[id(record)] = object.__new__(kind)
        blank = nn.Module()
        layer.__dict__.update(vars(blank))
        attributes = {}
        for name, value in state.items():
            where = f"{kind.__name__}.{shown(str(name))}"
            expect(type(name) is str and not name.startswith("__"), f"an attribute, not {where}")
            if name in _TABLES:
                attributes[name] = self._parts(value, _TABLES[name], where)
            elif name == "forward":
                attributes[name] = _own_forward(record, value, layer)
            elif name.startswith("_") and "hook" in name:
                expect(_empty(value), f"no hooks, as in {where}")
            elif not isinstance(getattr_static(kind, name, None), property):  # it has the last word
                hides = name != "type" and callable(getattr_static(kind, name, None))  # Ultralytics hides `Module.type`
                expect(not hides, f"a method, not data, as {where}")
                attributes[name] = self.revive(value)
        layer.__setstate__(attributes)
        return layer

    def _parts(self, item: Any, kind: type, where: str) -> dict[str, Any]:
        parts = self.revive(item)
        named = isinstance(parts, dict) and all(type(name) is str and "." not in name for name in parts)
        expect(named and all(part is None or isinstance(part, kind) for part in parts.values()), f"parts in {where}")
        return dict(parts)


def expect(condition: object, what: str) -> None:
    """Raise a RefusedPickleError that says what was expected."""
    if not condition:
        raise RefusedPickleError(f"no checkpoint: expected {what}")


def _own_forward(record: Record, value: Any, layer: nn.Module) -> Any:
    """One of a layer's own ways to compute, `forward_fuse` of a folded one, in the place of its `forward`."""
    asked = type(value) is Record and value.path == METHOD and len(value.args) == 2 and value.args[0] is record
    name = value.args[1] if asked else ""
    method = getattr_static(type(layer), name, None) if type(name) is str and name.startswith("forward") else None
    if type(method) is not FunctionType:
        raise RefusedPickleError(f"no checkpoint: expected a forward of {type(layer).__name__}'s own")
    return MethodType(method, layer)


def _numbers(values: Any) -> bool:
    """Whether these are whole numbers from 0."""
    return type(values) is tuple and all(type(value) is int and value >= 0 for value in values)


def _empty(item: Any) -> bool:
    """Whether a table of hooks, or its absence, has nothing in it."""
    if type(item) is Record:
        return item.path == "collections.OrderedDict" and not item.items and not item.args
    return item in (None, False) or item == {}
