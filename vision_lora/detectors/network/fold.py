"""Folding: frozen BatchNorm becomes part of its convolution, once, at load."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vision_lora.adapters.weights.live import FoldedNorm


def fold_batchnorm(conv: nn.Conv2d, norm: nn.Module) -> FoldedNorm:
    """Fold an evaluated BatchNorm into the convolution before it, in place (Ioffe & Szegedy 2015, section 3.1).

    Computed in double precision by single IEEE operations and rounded once, so that every machine gets the same bits:
    an adapter's fingerprint depends on them.

    Args:
        conv: convolution, with or without bias.
        norm: BatchNorm over its output channels, with running statistics, or one that a library froze for good.

    Returns:
        What training with live statistics needs of it.
    """
    mean, variance = (_numbers(getattr(norm, name)) for name in ("running_mean", "running_var"))
    gamma = torch.ones_like(mean) if norm.weight is None else _numbers(norm.weight)
    beta = torch.zeros_like(mean) if norm.bias is None else _numbers(norm.bias)
    # The frozen ones of transformers keep the usual epsilon in their code.
    eps = float(getattr(norm, "eps", 1e-5))
    factor = gamma / torch.sqrt(variance + eps)
    bias = torch.zeros_like(mean) if conv.bias is None else conv.bias.detach().double()
    weight = conv.weight.detach().double() * factor.view(-1, 1, 1, 1)
    dtype = conv.weight.dtype
    conv.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    conv.bias = nn.Parameter(((bias - mean) * factor + beta).to(dtype), requires_grad=False)
    kept = conv.bias.detach().float().clone()
    return FoldedNorm(gamma.float(), beta.float(), (mean - bias).float(), variance.float(), kept, eps)


def is_batchnorm(layer: nn.Module) -> bool:
    """Whether a layer is a plain BatchNorm over pictures, frozen for good or not, and nothing more.

    Libraries have their own frozen kinds. Those that hold an activation as well are told by their name.
    """
    return type(layer) is nn.BatchNorm2d or type(layer).__name__.endswith("FrozenBatchNorm2d")


def fold_followed(network: nn.Module, run: Callable[[], Any]) -> dict[str, FoldedNorm]:
    """Fold each BatchNorm that gets the output of a convolution and nothing else, and leave an identity in its place.

    Who follows whom is seen in a forward pass, so nothing about the architecture has to be known.

    Args:
        network: in eval mode; changed in place.
        run: one forward pass of it, over any picture.

    Returns:
        Those that were folded, by the name of their convolution.
    """
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # outputs stay alive, so that no address is given out twice
    calls: dict[nn.Module, int] = {}
    pairs: dict[nn.Module, list[nn.Conv2d | None]] = {}

    def after_conv(conv: nn.Module, _: Any, output: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        made[id(output)] = (conv, output)
        calls[conv] = calls.get(conv, 0) + 1

    def before_norm(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        conv, _ = made.get(id(inputs[0]), (None, None))
        pairs.setdefault(norm, []).append(conv)

    hooks = [
        layer.register_forward_hook(after_conv)
        if type(layer) is nn.Conv2d
        else layer.register_forward_pre_hook(before_norm)
        for layer in network.modules()
        if type(layer) is nn.Conv2d or is_batchnorm(layer)
    ]
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()

    names = {layer: name for name, layer in network.named_modules()}
    folded = set()
    norms = {}
    for norm, convs in pairs.items():
        conv = convs[0]
        # Every output of the convolution goes into this norm, and every input of the norm comes from it.
        if conv is not None and set(convs) == {conv} and calls[conv] == len(convs):
            norms[names[conv]] = fold_batchnorm(conv, norm)
            folded.add(norm)
    for parent in network.modules():
        for name, child in list(parent.named_children()):
            if child in folded:
                setattr(parent, name, nn.Identity())
    return norms


def _numbers(tensor: Any) -> Tensor:
    assert isinstance(tensor, Tensor)
    return tensor.detach().double()
