"""Layers of transformers' networks put right before adapting: classes in a layer of their own, tied layers as one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from vision_lora.detectors.network.heads import Classifier, Table
from vision_lora.errors import CheckpointError


def take_apart(network: Any) -> tuple[str, ...]:
    """Give the classes of each class layer a layer of their own; names of these."""
    config = copy.deepcopy(network.config)
    config.num_labels += 1
    for part in with_backbone(config):
        if hasattr(part, "use_pretrained_backbone"):
            part.use_pretrained_backbone = False
    with torch.device("meta"):
        larger = dict(type(network)(config).named_parameters(remove_duplicate=False))
    own = dict(network.named_parameters(remove_duplicate=False))
    grown = {name.rpartition(".")[0] for name, tensor in own.items() if tensor.shape != larger[name].shape}
    layers = {name: layer for name, layer in network.named_modules() if name in grown - {silent_layer(network.config)}}
    names: list[str] = []
    split: dict[nn.Module, nn.Module] = {}
    for name, layer in layers.items():
        extra = len(layer.weight) - network.config.num_labels
        if not isinstance(layer, (nn.Linear, nn.Embedding)) or extra not in (0, 1):
            raise CheckpointError(
                f"{type(network).__name__}: its class layer {name} is a {type(layer).__name__} of {len(layer.weight)} "
                f"rows for {network.config.num_labels} classes, which is not supported"
            )
        if extra:
            split[layer] = Classifier(layer, first=False) if isinstance(layer, nn.Linear) else Table(layer)
        names.append(f"{name}.classes" if extra else name)
    _exchange(network, split)
    return tuple(names)


def share_tied(network: nn.Module) -> None:
    """Make layers whose parameters are the same objects one layer, so that there is one place to adapt."""
    first: dict[tuple[int, ...], nn.Module] = {}
    same: dict[nn.Module, nn.Module] = {}
    for layer in network.modules():
        key = tuple(id(parameter) for parameter in layer.parameters(recurse=False))
        if key and is_leaf(layer) and first.setdefault(key, layer) is not layer:
            same[layer] = first[key]
    _exchange(network, same)


def _exchange(network: nn.Module, others: Mapping[nn.Module, nn.Module]) -> None:
    """Put other layers in the places of some, in each place where these stand."""
    for parent in list(network.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and child in others:
                setattr(parent, name, others[child])


def is_leaf(layer: nn.Module) -> bool:
    """Whether a layer holds parameters itself, and no other layers."""
    return not list(layer.children()) and bool(list(layer.parameters()))


def silent_layer(config: Any) -> str:
    """The class layer that transformers' loss does not reach: its first class stands for any object. Empty if none."""
    two_stage = config.model_type == "deformable_detr" and config.two_stage
    return f"model.decoder.class_embed.{config.decoder_layers}" if two_stage else ""


def with_backbone(config: Any) -> list[Any]:
    """A network's configuration, and its backbone's where that has one of its own."""
    backbone = getattr(config, "backbone_config", None)
    return [config] if backbone is None else [config, backbone]
