"""Plain LoRA in the layout of Hugging Face PEFT: a folder with `adapter_config.json` and `adapter_model.safetensors`.

PEFT puts two layers beside a frozen one and adds s·B(A(x)) to its output; we change its weight by s·B·A. The numbers
are the same where both are one linear map, and their layout differs as follows:

| | A here | A in PEFT | B here | B in PEFT |
|---|---|---|---|---|
| Linear | (r, in) | (r, in) | (out, r) | (out, r) |
| Conv2d | (r, in·k·k) | (r, in, k, k) | (out, r) | (out, r, 1, 1) |
| Conv2d, g groups | (r, in/g·k·k), one for all groups | (r·g, in, k, k), block-diagonal | (out, r) | (out, r, 1, 1) |

PEFT's A of a grouped convolution is dense: what training in PEFT makes of it mixes the channels of all groups, and no
grouped weight can do that (PEFT itself cannot merge it). Its A also ignores dilation and padding modes. Such layers are
refused in both directions, as are transposed convolutions and attention. Channel scale and shift, class rows and weight
decomposition have no place in PEFT's layout at all; writing refuses to leave them out unless it is told to.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from vision_lora.adapters.adapter import Adapter, Card
from vision_lora.adapters.layers import sites
from vision_lora.adapters.weights.deltas import Delta, FrozenDown, LowRank, NewRows, RankStabilised, ScaleShift
from vision_lora.adapters.weights.tensors import MAX_HEADER, brief, read_tensors, reject_doubles
from vision_lora.errors import AdapterError, BrokenAdapterError, ForeignLayoutError, MismatchError
from vision_lora.system.outputs import write_whole

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)

# Options of PEFT under which B·A is not the whole change, or not the change of this weight.
_FOREIGN = (
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "fan_in_fan_out",
    "layer_replication",
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
)
# Other ways to start (PiSSA, OLoRA, LoftQ, ...) change the base weights too, and so need their own base.
_STARTS = (True, False, "gaussian", "orthogonal", "eva", None)


def write_peft(adapter: Adapter, network: nn.Module, folder: Path, *, partial: bool = False) -> tuple[str, ...]:
    """Write the plain LoRA of an adapter so that `peft.PeftModel.from_pretrained(network, folder)` computes the same.

    Args:
        adapter: the adapter; attached or not.
        network: the folded base that it was made for.
        folder: where the two files go; made where it is missing.
        partial: write what PEFT's layout can hold, and leave out the rest.

    Returns:
        What was left out, a line for each kind; nothing unless `partial`.

    Raises:
        ForeignLayoutError: something has no place in PEFT's layout and `partial` is not set, or nothing has one.
        MismatchError: the adapter does not belong to this network.
        AdapterError: the folder cannot be written.
    """
    layers = dict(network.named_modules())
    written, lines = _divided(adapter, layers)
    if not written:
        raise ForeignLayoutError(f"nothing of this adapter has a place in PEFT's layout: {'; '.join(lines)}")
    if lines and not partial:
        raise ForeignLayoutError(
            f"PEFT's layout has no place for: {'; '.join(lines)}; partial=True writes the plain LoRA without them"
        )
    stabilised = all(isinstance(delta, RankStabilised) for delta in written.values())
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for site, delta in written.items():
        down, up = _to_peft(delta, layers[site])
        ranks[site] = len(down)
        alphas[site] = delta.strength * (math.sqrt(len(down)) if stabilised else len(down))
        tensors[f"{_PREFIX}{site}.lora_A.weight"] = down
        tensors[f"{_PREFIX}{site}.lora_B.weight"] = up
    config = _peft_config(adapter.card.base, ranks, alphas, stabilised=stabilised)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AdapterError(f"{folder}: cannot be written ({error.strerror})") from error
    write_whole(folder / WEIGHTS, save(tensors, metadata={"format": "pt"}))
    write_whole(folder / CONFIG, (json.dumps(config, indent=2) + "\n").encode())
    return lines


def _divided(adapter: Adapter, layers: Mapping[str, nn.Module]) -> tuple[dict[str, LowRank], tuple[str, ...]]:
    """What of an adapter has a place in PEFT's layout, by layer, and what has none, a line for each kind.

    Raises:
        MismatchError: the adapter does not belong to these layers.
    """
    written: dict[str, LowRank] = {}
    left: Counter[str] = Counter()
    for site, delta in adapter.deltas.items():
        reason = _no_place(delta, layers.get(site))
        if reason:
            left[reason] += 1
        elif isinstance(delta, LowRank):
            _check(delta, layers[site], site)
            written[site] = delta
        if isinstance(delta, ScaleShift) and _changes_channels(delta):
            left["channel scale and shift"] += 1
    return written, tuple(f"{reason} ({count} layer{'s'[: count > 1]})" for reason, count in left.items())


def _peft_config(
    base: str, ranks: Mapping[str, int], alphas: Mapping[str, float], *, stabilised: bool
) -> dict[str, Any]:
    """What `adapter_config.json` says; rank and alpha of most layers, and patterns for the others."""
    rank, alpha = (Counter(values.values()).most_common(1)[0][0] for values in (ranks, alphas))
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": stabilised,
        # A list of names would also match every layer whose name ends with one of them.
        "target_modules": "|".join(map(re.escape, ranks)),
        "rank_pattern": {_exactly(site): value for site, value in ranks.items() if value != rank},
        "alpha_pattern": {_exactly(site): value for site, value in alphas.items() if value != alpha},
    }


def read_peft(folder: Path, network: nn.Module, card: Card) -> Adapter:
    """Read a LoRA that PEFT trained and saved, as an adapter for the same network.

    Args:
        folder: with `adapter_config.json` and `adapter_model.safetensors`; pickled weights are not read.
        network: the base that PEFT had, with the same layer names; folded, if PEFT's was.
        card: what the adapter is to say of itself, since PEFT's files do not. Its `names` are the network's own
            classes, as PEFT's LoRA brings no rows for others; its `alpha` is replaced by PEFT's.

    Raises:
        BrokenAdapterError: a file is missing, truncated, altered, or no JSON.
        ForeignLayoutError: the LoRA cannot be a change of this network's weights.
        MismatchError: it was made for other layers.
    """
    config = _config(folder / CONFIG)
    if not (folder / WEIGHTS).is_file():
        raise BrokenAdapterError(f"{folder}: no {WEIGHTS}; pickled weights are not read, save with safetensors")
    tensors, _ = read_tensors(folder / WEIGHTS)
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(rf"{re.escape(_PREFIX)}(.+)\.lora_([AB])\.weight", name)
        if match is None:
            raise ForeignLayoutError(f"{folder}: tensor {name!r} is no LoRA factor of a convolution or a linear layer")
        if tensor.dtype not in _DTYPES or not torch.isfinite(tensor).all():
            raise BrokenAdapterError(f"{folder}: tensor {name!r} holds no finite numbers of 16 or 32 bits")
        pairs.setdefault(match[1], {})[match[2]] = tensor.float()
    if not pairs:
        raise BrokenAdapterError(f"{folder}: {WEIGHTS} holds no tensors")
    layers = dict(network.named_modules())
    deltas: dict[str, Delta] = {}
    for site, factors in pairs.items():
        if factors.keys() != {"A", "B"}:
            raise BrokenAdapterError(f"{folder}: layer {site!r} has only one of its two factors")
        deltas[site] = _from_peft(site, factors["A"], factors["B"], layers.get(site), config)
    return Adapter(deltas, replace(card, alpha=float(config["lora_alpha"])))


def _no_place(delta: Delta, layer: nn.Module | None) -> str:
    """Why the low rank or the rows of a delta have no place in PEFT's layout; empty where they have, or are none."""
    if isinstance(delta, NewRows):
        return "rows of new classes"
    if not isinstance(delta, LowRank):
        return ""
    if type(delta) not in (LowRank, RankStabilised, FrozenDown):
        return f"low rank of the variant {delta.variant}"
    return _no_linear_map(layer)


def _no_linear_map(layer: nn.Module | None) -> str:
    """Why PEFT's two layers beside this one are not a change of its weight; empty where they are."""
    # Attention has named sites, and its out_proj is a layer that is never called: a wrapper around it would be dead.
    if layer is None or "" not in sites(layer):
        return "low rank of attention"
    if isinstance(layer, nn.Linear):
        return ""
    if not isinstance(layer, nn.Conv2d):
        return "low rank of transposed convolutions"
    if set(layer.dilation) != {1}:
        return "low rank of dilated convolutions"
    return "" if layer.padding_mode == "zeros" else f"low rank of convolutions with {layer.padding_mode} padding"


def _changes_channels(delta: ScaleShift) -> bool:
    return any(part is not None and bool(part.any()) for part in (delta.gain, delta.shift))


def _check(delta: LowRank, layer: nn.Module, site: str) -> None:
    assert isinstance(layer, (nn.Conv2d, nn.Linear))
    delta.check(layer.weight.flatten(1), site)


def _to_peft(delta: LowRank, layer: nn.Module) -> tuple[Tensor, Tensor]:
    """PEFT's A and B of one layer; see the table above."""
    down, up = (factor.detach().float().cpu() for factor in (delta.down, delta.up))
    if not isinstance(layer, nn.Conv2d):
        return down.contiguous(), up.contiguous()
    inputs = layer.in_channels // layer.groups
    blocks = down.new_zeros(layer.groups, delta.rank, layer.groups, inputs, *layer.kernel_size)
    for group in range(layer.groups):
        blocks[group, :, group] = down.view(delta.rank, inputs, *layer.kernel_size)
    return blocks.view(-1, layer.in_channels, *layer.kernel_size), up[:, :, None, None].contiguous()


def _from_peft(site: str, down: Tensor, up: Tensor, layer: nn.Module | None, config: Mapping[str, Any]) -> LowRank:
    """Our delta for one layer of PEFT's."""
    if layer is None:
        raise MismatchError(f"layer {site!r} of the PEFT adapter is not in the network")
    if reason := _no_linear_map(layer):
        raise ForeignLayoutError(f"layer {site!r}: PEFT's {reason} is no change of the layer's weight")
    assert isinstance(layer, (nn.Conv2d, nn.Linear))
    kernel = layer.kernel_size if isinstance(layer, nn.Conv2d) else ()
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    rows, inputs = len(layer.weight), layer.weight.shape[1] * groups
    rank = len(down) if down.dim() else 0
    expected = ((rank, inputs, *kernel), (rows, rank // groups, *(1 for _ in kernel)))
    if rank == 0 or rank % groups or (tuple(down.shape), tuple(up.shape)) != expected:
        raise MismatchError(
            f"layer {site!r}: the PEFT adapter has factors {tuple(down.shape)} and {tuple(up.shape)}, which do not fit "
            f"its weight {tuple(layer.weight.shape)}"
        )
    strength = _alpha(site, config) / (math.sqrt(rank) if config["use_rslora"] else rank)
    shared = _shared_block(down, groups)
    if shared is None:
        raise ForeignLayoutError(
            f"layer {site!r}: PEFT's LoRA of a grouped convolution mixes the channels of its {groups} groups, which a "
            "grouped weight cannot do; leave the layer out of target_modules"
        )
    down, up = shared.flatten(1), up.flatten(1)
    kind = RankStabilised if config["use_rslora"] else LowRank
    try:
        delta = kind(rows, down.shape[1], len(down), float(config["lora_alpha"]), bias=layer.bias is not None)
    except AdapterError as error:
        raise ForeignLayoutError(f"layer {site!r} of the PEFT adapter: {error}") from error
    with torch.no_grad():
        delta.down.copy_(down)
        # One alpha stands on an adapter's card; where PEFT has another for this layer, B takes up the difference.
        delta.up.copy_(up * (strength / delta.strength))
    return delta


def _shared_block(down: Tensor, groups: int) -> Tensor | None:
    """The A that all groups share in PEFT's dense one (rank, in, ...), or None where there is no such A."""
    if groups == 1:
        return down
    rank, inputs = len(down) // groups, down.shape[1] // groups
    blocks = down.reshape(groups, rank, groups, inputs, *down.shape[2:])
    diagonal = torch.stack([blocks[group, :, group] for group in range(groups)])
    elsewhere = blocks.count_nonzero() - diagonal.count_nonzero()
    return diagonal[0] if elsewhere == 0 and bool((diagonal == diagonal[0]).all()) else None


def _config(path: Path) -> dict[str, Any]:
    """Read PEFT's config; only what says how the factors act is looked at."""
    try:
        if path.stat().st_size > MAX_HEADER:
            raise BrokenAdapterError(f"{path}: more than {MAX_HEADER:,} bytes")
        config = json.loads(path.read_bytes(), object_pairs_hook=reject_doubles)
    except OSError as error:
        raise BrokenAdapterError(
            f"{path}: cannot be read ({error.strerror}); expected the folder PEFT saved"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BrokenAdapterError(f"{path}: no JSON ({brief(error)})") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise ForeignLayoutError(f"{path}: no config of a LoRA (peft_type LORA)")
    config = {"lora_alpha": 8, "use_rslora": False, "alpha_pattern": {}, **config}  # PEFT's own defaults
    if found := [name for name in _FOREIGN if config.get(name)]:
        raise ForeignLayoutError(f"{path}: made with {found[0]}, which is more than a plain LoRA")
    if config.get("bias", "none") != "none":
        raise ForeignLayoutError(
            f"{path}: made with bias {config['bias']!r}: it trained biases of the base; expected 'none'"
        )
    start = config.get("init_lora_weights")
    if not any(start is known or start == known for known in _STARTS):
        raise ForeignLayoutError(
            f"{path}: started as {start!r}, which changes the base; convert it to a plain LoRA in PEFT"
        )
    pattern = config["alpha_pattern"] or {}
    if not isinstance(pattern, dict) or not all(map(_is_alpha, (config["lora_alpha"], *pattern.values()))):
        raise BrokenAdapterError(f"{path}: lora_alpha and alpha_pattern have to be numbers above 0")
    return {**config, "alpha_pattern": pattern}


def _is_alpha(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < 1e6


def _alpha(site: str, config: Mapping[str, Any]) -> float:
    """PEFT's alpha of a layer: that of the first pattern that fits its name or the end of it.

    PEFT takes patterns as regular expressions. Here they are names, so that a file cannot ask for endless matching.
    """
    for pattern, alpha in config["alpha_pattern"].items():
        if re.search(r"(?<!\\)[][*+?(){}|$]", pattern):
            raise ForeignLayoutError(f"alpha_pattern {pattern!r} is a regular expression; expected names of layers")
        name = re.sub(r"\\(.)", r"\1", pattern.removeprefix("^"))
        if site == name or (not pattern.startswith("^") and site.endswith(f".{name}")):
            return float(alpha)
    return float(config["lora_alpha"])


def _exactly(site: str) -> str:
    """Pattern that fits this layer only, and not those whose names end with it."""
    return f"^{re.escape(site)}"
