"""The adapter file: safetensors with a versioned JSON header. Nothing in it is ever executed."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from vision_lora.adapters.adapter import Adapter, Card
from vision_lora.adapters.deltas import VARIANTS, Delta, LowRank, NewRows, ScaleShift
from vision_lora.errors import AdapterError

FORMAT = 1  # rises when older readers could misunderstand a file
KEY = "vision_lora"


def save_adapter(adapter: Adapter, path: Path) -> None:
    """Write an adapter, complete: the base checkpoint and this file give the trained detector again.

    Args:
        adapter: the adapter; attached or not.
        path: `.safetensors` file; an older one is replaced only once the new one is whole.
    """
    tensors: dict[str, Tensor] = {}
    layers: dict[str, Any] = {}
    for site, delta in adapter.deltas.items():
        layers[site] = delta.variant
        for name, tensor in delta.state_dict().items():
            tensors[f"{site}.{name}"] = tensor.detach().cpu().contiguous()
    header = {"format": FORMAT, "card": asdict(adapter.card), "layers": layers}
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(save(tensors, metadata={KEY: json.dumps(header)}))
    partial.replace(path)


def load_adapter(path: Path | str) -> Adapter:
    """Read an adapter file.

    Raises:
        AdapterError: missing, no adapter, truncated, of a newer format, or with tensors that do not fit together.
    """
    path = Path(path)
    if not path.is_file():
        raise AdapterError(f"{path}: no such adapter file; expected the .safetensors that training wrote")
    try:
        with safe_open(path, framework="pt") as file:
            header = _header(path, file.metadata())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise AdapterError(f"{path}: not a readable adapter file ({' '.join(str(error).split())[:200]})") from error
    card = _card(path, header["card"])
    deltas: dict[str, Delta] = {}
    for site, variant in header["layers"].items():
        own = {
            name.removeprefix(f"{site}."): tensors.pop(name)
            for name in list(tensors)
            if name.rpartition(".")[0] == site
        }
        deltas[site] = _delta(path, site, variant, own, card)
    if tensors:
        raise AdapterError(f"{path}: altered: tensor {next(iter(tensors))} belongs to no layer of the header")
    return Adapter(deltas, card)


def _header(path: Path, metadata: dict[str, str] | None) -> dict[str, Any]:
    if not metadata or KEY not in metadata:
        raise AdapterError(f"{path}: a safetensors file, but not an adapter of vision_lora (no {KEY!r} in its header)")
    try:
        header = json.loads(metadata[KEY])
    except (json.JSONDecodeError, RecursionError) as error:
        raise AdapterError(f"{path}: altered: the header is not JSON ({error})") from error
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise AdapterError(f"{path}: altered: the header has no format number")
    if header["format"] > FORMAT:
        raise AdapterError(
            f"{path}: written by a newer vision_lora (format {header['format']}, this one reads up to {FORMAT}): update it"
        )
    layers = header.get("layers")
    if not isinstance(layers, dict) or not layers or not all(isinstance(value, str) for value in layers.values()):
        raise AdapterError(f"{path}: altered: the header lists no layers")
    return header


def _card(path: Path, values: Any) -> Card:
    known = {item.name: item for item in fields(Card)}
    if not isinstance(values, dict) or not {"family", "base", "fingerprint", "names", "alpha"} <= values.keys():
        raise AdapterError(f"{path}: altered: the header's card is incomplete")
    names = values["names"]
    texts = [values["family"], values["base"], values["fingerprint"], *(names if isinstance(names, list) else [0])]
    if not all(isinstance(text, str) for text in texts) or not names or len(set(names)) < len(names):
        raise AdapterError(
            f"{path}: altered: the header's card needs texts, and class names that are not empty or double"
        )
    numbers = (values["alpha"], values.get("imgsz", 640))
    if not all(isinstance(number, (int, float)) and 0 < number < 1e6 for number in numbers):
        raise AdapterError(f"{path}: altered: alpha and imgsz have to be positive numbers")
    return Card(**{**{key: value for key, value in values.items() if key in known}, "names": tuple(names)})


def _delta(path: Path, site: str, variant: str, tensors: dict[str, Tensor], card: Card) -> Delta:
    """Rebuild one delta; sizes come from tensors that are in the file, so a header cannot ask for memory."""
    for name, tensor in tensors.items():
        if not tensor.dtype.is_floating_point or not torch.isfinite(tensor).all():
            raise AdapterError(f"{path}: tensor {site}.{name} holds values that are not finite numbers")
    try:
        delta = _empty(variant, tensors, card)
        delta.load_state_dict(tensors)
    except (KeyError, IndexError, RuntimeError) as error:
        raise AdapterError(
            f"{path}: altered: the tensors of layer {site} do not make a {variant!r} delta ({' '.join(str(error).split())})"
        ) from error
    return delta


def _empty(variant: str, tensors: dict[str, Tensor], card: Card) -> Delta:
    if variant == NewRows.variant:
        rows, columns = tensors["weight"].shape[0], tensors["weight"].shape[1]
        return NewRows(rows, columns)
    kind = VARIANTS[variant]
    bias, rows = "shift" in tensors, tensors["gain"].shape[0]
    if issubclass(kind, LowRank):
        rank, columns = tensors["down"].shape[0], tensors["down"].shape[1]
        return kind(rows, columns, rank, card.alpha, bias=bias)
    return ScaleShift(rows, bias=bias)
