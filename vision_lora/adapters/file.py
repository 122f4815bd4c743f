"""The adapter file: safetensors with a versioned JSON header. Nothing in it is ever executed.

The metadata of the safetensors file has two entries:

- `vision_lora`: JSON with `format` (int), `card` (the fields of `Card`) and `layers` (for each adapted layer its
  variant, and its rank where it has one: `"model.1.conv": "lora r8"`).
- `checksum`: SHA-256 of that JSON text and of the tensors, so that a damaged file is not mistaken for a bad adapter.
  It guards against accidents; who alters a file on purpose can compute it anew.

Tensors are named `LAYER.PARAMETER` (`model.1.conv.down`), fp32 or fp16.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from vision_lora.adapters.adapter import Adapter, Card, fingerprint
from vision_lora.adapters.weights.deltas import VARIANTS, Delta, LowRank, NewRows
from vision_lora.adapters.weights.tensors import brief, read_tensors, reject_doubles
from vision_lora.errors import AdapterError, BrokenAdapterError, NewerAdapterError
from vision_lora.system.outputs import write_whole

FORMAT = 1  # rises when older readers could misunderstand a file
KEY = "vision_lora"
CHECKSUM = "checksum"

_KEPT = " joint"  # class rows that stand behind the old ones
_SHORT = {torch.float16: "fp16", torch.float32: "fp32"}
_REQUIRED = {"family", "base", "fingerprint", "names", "alpha", "imgsz"}


def save_adapter(adapter: Adapter, path: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write an adapter, complete: the base checkpoint and this file give the trained detector again.

    Live BatchNorm is folded into scale and shift.

    Args:
        adapter: the adapter; attached or not.
        path: `.safetensors` file; an older one is replaced only once the new one is whole.
        dtype: float32, or float16 for half the size and rounded numbers.

    Raises:
        AdapterError: the adapter holds numbers that are not finite (in `dtype`).
        OutputError: the file cannot be written.
    """
    if dtype not in (torch.float32, torch.float16):
        raise AdapterError(f"{path}: adapters are saved as float32 or float16, not {dtype}")
    adapter = adapter.folded()
    tensors = {
        f"{site}.{name}": tensor.detach().to("cpu", dtype).contiguous()
        for site, delta in adapter.deltas.items()
        for name, tensor in delta.state_dict().items()
    }
    if (name := _not_finite(tensors)) is not None:
        raise AdapterError(f"{path}: not written: {name} holds numbers that are not finite in {dtype}")
    layers = {site: _treatment(delta) for site, delta in adapter.deltas.items()}
    header = json.dumps({"format": FORMAT, "card": asdict(adapter.card), "layers": layers}, separators=(",", ":"))
    _write(tensors, header, path)


def save_card(card: Card, path: Path) -> None:
    """Replace the card of an adapter file; its tensors stay as they are, to the bit.

    Raises:
        AdapterError: there is no such file; see `load_adapter` for a broken one.
        OutputError: it cannot be written.
    """
    load_adapter(path)  # the check
    tensors, metadata = read_tensors(path)
    header = json.dumps({**json.loads(metadata[KEY]), "card": asdict(card)}, separators=(",", ":"))
    _write(tensors, header, path)


def load_adapter(path: Path | str) -> Adapter:
    """Read an adapter file; its tensors are fp32 and in memory, whatever happens to the file afterwards.

    Raises:
        AdapterError: there is no such file.
        BrokenAdapterError: truncated, altered, or no adapter.
        NewerAdapterError: of a format that this version does not know.
    """
    path = Path(path)
    if not path.is_file():
        raise AdapterError(f"{path}: no such adapter file; expected the .safetensors that training wrote")
    tensors, metadata = read_tensors(path)
    header = _header(path, metadata)
    checksum = _checksum(metadata[KEY], tensors)
    if metadata.get(CHECKSUM, checksum) != checksum:
        raise BrokenAdapterError(f"{path}: altered: its checksum differs; copy the file again from where it was made")
    card = _card(path, header.get("card"))
    groups: dict[str, dict[str, Tensor]] = {site: {} for site in header["layers"]}
    for name, tensor in tensors.items():
        site, _, parameter = name.rpartition(".")
        if site not in groups:
            raise BrokenAdapterError(f"{path}: altered: tensor {name!r} belongs to no layer of the header")
        groups[site][parameter] = tensor
    deltas = {site: _delta(path, site, header["layers"][site], own, card) for site, own in groups.items()}
    return Adapter(deltas, card)


def precision_of(path: Path) -> str:
    """The numbers that an adapter file holds: `fp32`, or `fp16` where it is half as large.

    Raises:
        BrokenAdapterError: it cannot be read.
    """
    kinds = {tensor.dtype for tensor in read_tensors(path)[0].values()}
    return " and ".join(sorted(_SHORT.get(kind, str(kind)) for kind in kinds))


def _write(tensors: dict[str, Tensor], header: str, path: Path) -> None:
    write_whole(path, save(tensors, metadata={KEY: header, CHECKSUM: _checksum(header, tensors)}))


def _header(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    if KEY not in metadata:
        raise BrokenAdapterError(
            f"{path}: a safetensors file, but no adapter of vision_lora (no {KEY!r} in its header)"
        )
    try:
        header = json.loads(metadata[KEY], object_pairs_hook=reject_doubles)
    except (ValueError, RecursionError) as error:
        raise BrokenAdapterError(f"{path}: altered: the header is no JSON ({brief(error)})") from error
    if not isinstance(header, dict) or type(header.get("format")) is not int or header["format"] < 1:
        raise BrokenAdapterError(f"{path}: altered: the header has no format number")
    if header["format"] > FORMAT:
        raise NewerAdapterError(
            f"{path}: written by a newer vision_lora (format {header['format']}, here up to {FORMAT}): update this one"
        )
    layers = header.get("layers")
    if (
        not isinstance(layers, dict)
        or not layers
        or not all(_is_text(item) for pair in layers.items() for item in pair)
    ):
        raise BrokenAdapterError(f"{path}: altered: the header lists no layers")
    return header


def _card(path: Path, values: Any) -> Card:
    if not isinstance(values, dict) or not values.keys() >= _REQUIRED:
        raise BrokenAdapterError(f"{path}: altered: the header's card is incomplete")
    names = values["names"]
    if not isinstance(names, list):
        raise BrokenAdapterError(f"{path}: altered: the header's card: names have to be a list")
    known = {item.name for item in fields(Card)}
    try:
        return Card(**{**{key: value for key, value in values.items() if key in known}, "names": tuple(names)})
    except AdapterError as error:
        raise BrokenAdapterError(f"{path}: altered: the header's card: {error}") from None


def _delta(path: Path, site: str, treatment: str, tensors: dict[str, Tensor], card: Card) -> Delta:
    """Rebuild one delta around its tensors; nothing is allocated, so sizes cannot ask for memory."""
    for name, tensor in tensors.items():
        if tensor.dtype not in (torch.float32, torch.float16):
            raise BrokenAdapterError(
                f"{path}: altered: tensor {f'{site}.{name}'!r} is {tensor.dtype}, not float32 or float16"
            )
        if not tensor.numel():
            raise BrokenAdapterError(f"{path}: altered: tensor {f'{site}.{name}'!r} is empty")
    if (bad := _not_finite(tensors)) is not None:
        raise BrokenAdapterError(
            f"{path}: tensor {f'{site}.{bad}'!r} holds numbers that are not finite: train it again"
        )
    try:
        with torch.device("meta"):
            delta = _empty(treatment, tensors, card)
        delta.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    except (KeyError, ValueError, RuntimeError, AdapterError) as error:
        raise BrokenAdapterError(
            f"{path}: altered: the tensors of layer {site} do not make a {treatment!r} delta ({brief(error)})"
        ) from error
    rank = _treatment(delta).partition(" ")[2]
    if treatment.partition(" ")[2] not in ("", rank):
        raise BrokenAdapterError(f"{path}: altered: layer {site} is {_treatment(delta)!r}, not {treatment!r}")
    if isinstance(delta, NewRows) and len(delta.weight) != len(card.names):
        raise BrokenAdapterError(
            f"{path}: altered: layer {site} has rows for {len(delta.weight)} classes, the card names {len(card.names)}"
        )
    return delta


def _empty(treatment: str, tensors: dict[str, Tensor], card: Card) -> Delta:
    """A delta of the sizes that its tensors have."""
    variant = treatment.partition(" ")[0]
    if variant == NewRows.variant:
        rows, columns = tensors["weight"].shape
        return NewRows(rows, columns, bias="bias" in tensors, keep=treatment.endswith(_KEPT))
    (rows,) = tensors["gain"].shape
    rank, columns = tensors["down"].shape if "down" in tensors else (0, 0)
    return VARIANTS[variant].build(rows, columns, rank, card.alpha, bias="shift" in tensors)


def _treatment(delta: Delta) -> str:
    """What the header says of a layer: `lora r8`, `ssf`, `rows`, `rows joint`."""
    if isinstance(delta, LowRank):
        return f"{delta.variant} r{delta.rank}"
    return delta.variant + (_KEPT if isinstance(delta, NewRows) and delta.keep else "")


def _checksum(header: str, tensors: Mapping[str, Tensor]) -> str:
    return hashlib.sha256(f"{header}\n{fingerprint(tensors)}".encode(errors="surrogatepass")).hexdigest()


def _not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Name of a tensor with NaN or infinity."""
    return next((name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()), None)


def _is_text(value: Any) -> bool:
    """Whether a value is text that can be printed: no control sequences for a terminal, no lone surrogates."""
    return isinstance(value, str) and bool(value) and value.isprintable()
