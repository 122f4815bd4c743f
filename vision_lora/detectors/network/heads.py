"""Class layers taken apart, so that each has one row a class and no others.

Many heads mix their classes with more: a row of no class at its end or its beginning, a row an anchor and class, four
rows a class. New classes get rows of their own, and old and new ones can stand side by side, once the classes are in a
layer by themselves. `joined` puts the layer together again, as the library that the network comes from knows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


class Classifier(nn.Module):
    """A linear layer over classes and one row of no class: background before them, or no object behind them.

    Args:
        layer: with classes + 1 rows.
        first: whether the row of no class is the first one, not the last.
    """

    def __init__(self, layer: nn.Linear, *, first: bool) -> None:
        super().__init__()
        rows = torch.arange(layer.out_features)
        self.first = first
        self.classes = _rows_of(layer, rows[1:] if first else rows[:-1])
        self.none = _rows_of(layer, rows[:1] if first else rows[-1:])

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., in) to (..., classes + 1)."""
        parts = self.none(input), self.classes(input)
        return torch.cat(parts if self.first else parts[::-1], -1)

    def joined(self) -> nn.Linear:
        """The layer as one."""
        parts = (self.none, self.classes) if self.first else (self.classes, self.none)
        return _stacked(parts, torch.arange(sum(part.out_features for part in parts)))


class Table(nn.Module):
    """An embedding of classes, with one more row for what is no class: padding.

    Args:
        layer: with classes + 1 rows.
    """

    def __init__(self, layer: nn.Embedding) -> None:
        super().__init__()
        table = layer.weight.detach()
        self.classes = nn.Embedding.from_pretrained(table[:-1].clone())
        self.none = nn.Parameter(table[-1:].clone())

    def forward(self, index: Tensor) -> Tensor:
        """Look up (...) in the table: (..., columns)."""
        return F.embedding(index, torch.cat((self.classes.weight, self.none)))

    def joined(self) -> nn.Embedding:
        """The table as one."""
        table = torch.cat((self.classes.weight.detach(), self.none.detach()))
        made: nn.Embedding = nn.Embedding.from_pretrained(table, freeze=False, padding_idx=len(table) - 1)
        return made


class AnchorClassifier(nn.Module):
    """A convolution that scores the classes of several anchors in each cell, with a row a anchor and class.

    Args:
        layer: with anchors · (classes + 1) rows; the first row of each anchor is background.
        anchors: anchors in a cell.
        background: whether background is scored. Where classes are scored one by one it never was trained, and goes.
    """

    def __init__(self, layer: nn.Conv2d, anchors: int, *, background: bool) -> None:
        super().__init__()
        rows = torch.arange(layer.out_channels).view(anchors, -1)
        self.anchors = nn.ModuleList(_rows_of(layer, one[1:]) for one in rows)
        self.none = _rows_of(layer, rows[:, 0]) if background else None

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, anchors · columns, H, W)."""
        scores = [anchor(input) for anchor in self.anchors]
        if self.none is not None:
            none = self.none(input)
            scores = [part for index, score in enumerate(scores) for part in (none[:, index : index + 1], score)]
        return torch.cat(scores, 1)

    def joined(self) -> nn.Conv2d:
        """The layer as one, with a row of background that is as unlikely as it can be where it is not scored."""
        anchors = [anchor for anchor in self.anchors if isinstance(anchor, nn.Conv2d)]
        none = self.none
        if none is None:
            none = _rows_of(anchors[0], torch.zeros(len(anchors), dtype=torch.long))
            nn.init.zeros_(none.weight)
            assert none.bias is not None
            nn.init.constant_(none.bias, -20.0)
        count, classes = len(anchors), anchors[0].out_channels
        own = torch.arange(count * classes).view(count, classes) + count
        order = torch.cat((torch.arange(count)[:, None], own), 1)  # background first, then the anchor's classes
        return _stacked([none, *anchors], order.flatten())


class BoxPredictor(nn.Module):
    """Scores and boxes of Faster R-CNN: a linear layer over background and classes, and four a class for its box.

    Args:
        scores: `cls_score`, with classes + 1 rows.
        boxes: `bbox_pred`, with 4 · (classes + 1) rows; the box of background is never read.
    """

    def __init__(self, scores: nn.Linear, boxes: nn.Linear) -> None:
        super().__init__()
        self.scores = Classifier(scores, first=True)
        rows = torch.arange(boxes.out_features).view(-1, 4)
        self.boxes = nn.ModuleList(_rows_of(boxes, rows[1:, edge]) for edge in range(4))

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, in) or (N, in, 1, 1) to scores (N, classes + 1) and box deltas (N, 4 · (classes + 1))."""
        flat = input.flatten(1)
        deltas = torch.stack([box(flat) for box in self.boxes], -1)  # (N, classes, 4)
        return self.scores(flat), F.pad(deltas, (0, 0, 1, 0)).flatten(1)

    def joined(self) -> tuple[nn.Linear, nn.Linear]:
        """`cls_score` and `bbox_pred`."""
        boxes = [box for box in self.boxes if isinstance(box, nn.Linear)]
        none = _rows_of(boxes[0], torch.zeros(4, dtype=torch.long))
        for tensor in none.parameters():
            nn.init.zeros_(tensor)
        classes = boxes[0].out_features
        own = torch.arange(4 * classes).view(4, classes).t() + 4
        return self.scores.joined(), _stacked([none, *boxes], torch.cat((torch.arange(4), own.flatten())))


def _rows_of(layer: Layer, rows: Tensor) -> Layer:
    """A layer of the same kind with some of the rows."""
    with torch.no_grad():
        return _like(layer, layer.weight[rows].clone(), None if layer.bias is None else layer.bias[rows].clone())


def _stacked(layers: Sequence[Layer], order: Tensor) -> Layer:
    """One layer of the rows of several, in an order."""
    with torch.no_grad():
        weights: list[Tensor] = [layer.weight for layer in layers]
        biases: list[Tensor] = [layer.bias for layer in layers if layer.bias is not None]
        return _like(layers[0], torch.cat(weights)[order], torch.cat(biases)[order] if biases else None)


def _like(layer: Layer, weight: Tensor, bias: Tensor | None) -> Layer:
    rows, has_bias = len(weight), bias is not None
    made: Any
    with torch.device("meta"):
        if isinstance(layer, nn.Linear):
            made = nn.Linear(layer.in_features, rows, has_bias)
        else:
            kernel, stride, padding = cast(Any, (layer.kernel_size, layer.stride, layer.padding))
            made = nn.Conv2d(layer.in_channels, rows, kernel, stride, padding, bias=has_bias)
    made.weight = nn.Parameter(weight)
    made.bias = None if bias is None else nn.Parameter(bias)
    return cast(Layer, made)
