"""Rows of a class layer: one a class, exchanged or added when the classes change."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vision_lora.adapters.weights.deltas import NewRows


def replace_rows(layer: nn.Module, count: int, kept: int) -> tuple[Tensor, Tensor | None]:
    """Give a class layer so many rows, in place: the first ones as they were, the others zero.

    Args:
        layer: a convolution, a linear layer or an embedding with one row a class.
        count: rows that it gets.
        kept: rows, from the first, that stay.

    Returns:
        Its new weight, (count, ...), and bias, (count,).

    Examples:
        >>> weight, bias = replace_rows(layer := nn.Linear(4, 3), 5, kept=3)
        >>> tuple(weight.shape), layer.out_features, weight[3:].abs().sum().item()
        ((5, 4), 5, 0.0)
    """
    made: list[Tensor | None] = []
    for name in ("weight", "bias"):
        old = layer._parameters.get(name)
        new = None if old is None else old.detach().new_zeros(count, *old.shape[1:])
        if old is not None and new is not None:
            new[:kept] = old.detach()[:kept]
            setattr(layer, name, nn.Parameter(new, requires_grad=False))
        made.append(new)
    for attribute in ("out_channels", "out_features", "num_embeddings"):
        if hasattr(layer, attribute):
            setattr(layer, attribute, count)
    weight, bias = made
    assert weight is not None, "a class layer has a weight"
    return weight, bias


def grow_rows(rows: NewRows, count: int, kept: int) -> NewRows:
    """An adapter's rows for more classes: the first ones as they were, the others zero.

    Args:
        rows: of an adapter, for one class layer.
        count: rows of the new one.
        kept: rows, from the first, that stay.
    """
    grown = NewRows(count, rows.weight.shape[1], bias=rows.bias is not None, keep=rows.keep)
    with torch.no_grad():
        grown.weight[:kept] = rows.weight[:kept]
        if grown.bias is not None and rows.bias is not None:
            grown.bias[:kept] = rows.bias[:kept]
    return grown
