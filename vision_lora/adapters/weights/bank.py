"""All effective weights of an adapter at once.

Layer by layer, what an adapter makes of the base's weights costs a GPU about 17 small kernels a layer, and the host
launches them more slowly than the device runs them. Here layers whose weights have equally many columns stand together
in one batched product, padded to the tallest of them: the 80 layers of a YOLO are some 20 products, with one backward
for all. The numbers are those of `vision_lora.adapters.weights.deltas`, in one formula for its variants:

    W' = q (1 + g) (W + s·B·A),    b' = b (1 + g) + t.

q is 1; in DoRA it is the length of W's rows by that of the rows of W + s·B·A, a constant to the gradient. With D the
gradient of W' and U = D·Aᵀ those of the parameters are (Hu et al. 2021, section 4.1)

    dB = s q (1 + g) U,    dA = (s q (1 + g) B)ᵀ·D,    dg = q Σ (D·W + s B·U) + b db',    dt = db'.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from vision_lora.adapters.layers import Adapted, AdaptedConv2d, AdaptedLinear, Parameters
from vision_lora.adapters.weights.deltas import Delta, FrozenDown, LowRank, ScaleShift, WeightDecomposed


class Link(NamedTuple):
    """Where a delta goes: the layer, and the part of it (empty where the layer has one weight)."""

    layer: Adapted
    part: str
    delta: Delta


def refusal(link: Link) -> str:
    """Why a layer has to compute for itself; empty where a bank takes it."""
    if type(link.layer) not in (AdaptedConv2d, AdaptedLinear):
        return f"{type(link.layer).plain.__name__}: its weights do not lie as rows"
    if isinstance(link.delta, FrozenDown):
        return "lora-fa: its backward goes through the factors"
    if not isinstance(link.delta, ScaleShift):
        return f"{link.delta.variant}: the delta is the weight itself"
    if link.delta.norm is not None:
        return "live BatchNorm: it stands between the weight and its scale"
    return ""


class Bank:
    """Makes what the layers of one adapter compute with, and hands it out for the length of a pass.

    It keeps a copy of the base's weights, so it holds for as long as these stay as and where they are.

    Args:
        links: layers with their deltas. Those with a `refusal` compute for themselves as ever.

    Attributes:
        links: those that it takes.
        device: where their weights are.
    """

    def __init__(self, links: Sequence[Link]) -> None:
        by_columns: dict[int, list[Link]] = defaultdict(list)
        for link in links:
            if not refusal(link):
                by_columns[_weight(link).shape[1]].append(link)
        self.links = [link for _, group in sorted(by_columns.items()) for link in group]
        self.device = _weight(self.links[0]).device if self.links else torch.device("cpu")
        self._values = [p for link in self.links for p in link.delta.parameters()]
        self._plan = _Layout([group for _, group in sorted(by_columns.items())]).plan(self.device)

    def __call__(self, dtype: torch.dtype) -> list[Parameters]:
        """What each of `links` computes with, convolutions' weights channels last in memory.

        Args:
            dtype: of the weights and biases.
        """
        made: tuple[Tensor, ...] = _AllAtOnce.apply(self._plan, dtype, *self._values)
        weights, biases = made[: len(self.links)], made[len(self.links) :]
        return [
            {"weight": weight, "bias": link.layer.bias if link.delta.shift is None else bias}
            for link, weight, bias in zip(self.links, weights, biases, strict=True)
        ]

    @contextmanager
    def handed_out(self, dtype: torch.dtype) -> Iterator[None]:
        """For the length of a pass, the layers compute with what is made here, instead of each for itself."""
        for link, given in zip(self.links, self(dtype) if self.links else (), strict=True):
            link.layer.__dict__["given"] = given
        try:
            yield
        finally:
            for link in self.links:
                link.layer.__dict__["given"] = None


@dataclass(frozen=True)
class _Group:
    """Layers whose weights have equally many columns: m of them, n rows at most, c columns, rank r at most.

    Attributes:
        weight: the base's, padded with zeros, (m, n, c).
        ups, downs: where B, (m, n, r), and A, (m, r, c), lie among the gathered numbers.
        gains: where 1 + g, (m, n), lies among all groups' gains.
        lengths: of the base's rows, (m, n), where deltas are decomposed; else None.
    """

    weight: Tensor
    ups: slice
    downs: slice
    gains: slice
    lengths: Tensor | None

    @property
    def rank(self) -> int:
        m, n, _ = self.weight.shape
        rank: int = (self.ups.stop - self.ups.start) // (m * n)
        return rank


@dataclass(frozen=True)
class _Plan:
    """Where everything lies. A parameter's number is gathered into the products' layout and scattered back by index.

    Attributes:
        groups: the products.
        shapes: of the layers' weights, in order; those of convolutions have four axes.
        gather: for each number of the products' layout its place among the parameters', (P,): B of all groups, A of all
            groups, the padded gains, then for each layer's rows g and t. Padding points behind the last parameter.
        strength: s of each number of B, (numbers of B,).
        scatter: for each parameter's number its place among the gradients: dB, dA, dg, dt.
        rows: for each row of a layer its place among the padded gains, (R,).
        bias: the base's, zero where there is none, (R,).
        sections: numbers of B, of A, of padded gains.
    """

    groups: tuple[_Group, ...]
    shapes: tuple[torch.Size, ...]
    gather: Tensor
    strength: Tensor
    scatter: Tensor
    rows: Tensor
    bias: Tensor
    sections: tuple[int, int, int]


class _Layout:
    """Lays parameters and weights out.

    Args:
        groups: links whose weights have equally many columns.
    """

    def __init__(self, groups: Sequence[Sequence[Link]]) -> None:
        self.groups = groups
        self.links = [link for group in groups for link in group]
        self.places: dict[int, int] = {}  # of a parameter's first number, by the parameter's identity
        end = 0
        for link in self.links:
            for parameter in link.delta.parameters():
                self.places[id(parameter)] = end
                end += parameter.numel()
        self.end = end

    def plan(self, device: torch.device) -> _Plan:
        """The plan, its tensors on a device."""
        ups: list[Tensor] = []
        downs: list[Tensor] = []
        gains: list[Tensor] = []
        strengths, made = [], []
        for group in self.groups:
            up, down, gain, strength = self._numbers(group)
            places = [_behind(parts, part) for parts, part in ((ups, up), (downs, down), (gains, gain))]
            ups.append(up)
            downs.append(down)
            gains.append(gain)
            strengths.append(strength)
            made.append(_Group(_padded(group, device), places[0], places[1], places[2], _lengths(group, device)))
        rows = torch.cat([place for group in self._rows() for place in group] or [torch.zeros(0, dtype=torch.long)])
        vectors = [self._index(link.delta, name, link) for name in ("gain", "shift") for link in self.links]
        parts = [*(part.flatten() for part in (*ups, *downs, *gains)), *vectors]
        gather = torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long)
        sections = tuple(sum(part.numel() for part in parts) for parts in (ups, downs, gains))
        learned = torch.cat((gather[: sections[0] + sections[1]], gather[sum(sections) :]))
        scatter = torch.empty(self.end + 1, dtype=torch.long)
        scatter[learned] = torch.arange(len(learned))
        bias = [_bias(link) for link in self.links]
        return _Plan(
            tuple(made),
            tuple(_weight_shape(link) for link in self.links),
            gather.to(device),
            torch.cat([part.flatten() for part in strengths]).to(device) if strengths else torch.zeros(0),
            scatter[:-1].to(device),
            rows.to(device),
            torch.cat(bias).to(device) if bias else torch.zeros(0),
            sections,  # type: ignore[arg-type]
        )

    def _numbers(self, group: Sequence[Link]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Places of a group's B, A and g among the parameters' numbers, and s for each of B's."""
        m, n, c = _extent(group)
        rank = max((link.delta.rank for link in group if isinstance(link.delta, LowRank)), default=0)
        ups = torch.full((m, n, rank), self.end)
        downs = torch.full((m, rank, c), self.end)
        gains = torch.full((m, n), self.end)
        strength = torch.zeros(m, n, rank)
        for place, link in enumerate(group):
            rows = len(_weight(link))
            gains[place, :rows] = self._index(link.delta, "gain", link)
            if isinstance(link.delta, LowRank):
                up, down, r = link.delta.up, link.delta.down, link.delta.rank
                ups[place, :rows, :r] = self.places[id(up)] + torch.arange(up.numel()).view(rows, r)
                columns = self.places[id(down)] + torch.arange(down.numel()).view(r, c)
                downs[place, :r] = _channels_last(columns, link)
                strength[place] = link.delta.strength
        return ups, downs, gains, strength

    def _index(self, delta: Delta, name: str, link: Link) -> Tensor:
        """Places of a vector with one number a row; behind the last parameter where the delta has none."""
        rows, vector = len(_weight(link)), getattr(delta, name)
        return torch.full((rows,), self.end) if vector is None else self.places[id(vector)] + torch.arange(rows)

    def _rows(self) -> Iterator[list[Tensor]]:
        """For each layer of each group the places of its rows among the padded gains."""
        start = 0
        for group in self.groups:
            m, n, _ = _extent(group)
            yield [start + place * n + torch.arange(len(_weight(link))) for place, link in enumerate(group)]
            start += m * n


def _behind(parts: Sequence[Tensor], part: Tensor) -> slice:
    """Where a part lies, put behind others."""
    start = sum(other.numel() for other in parts)
    return slice(start, start + part.numel())


def _extent(group: Sequence[Link]) -> tuple[int, int, int]:
    """Layers, most rows, columns; rows in eights, so that each weight begins where kernels can load several numbers."""
    most = max(len(_weight(link)) for link in group)
    return len(group), -(-most // 8) * 8, _weight(group[0]).shape[1]


def _weight(link: Link) -> Tensor:
    """The base's weight with one row an output channel."""
    return cast(Tensor, link.layer.weight).detach().flatten(1)


def _weight_shape(link: Link) -> torch.Size:
    return cast(Tensor, link.layer.weight).shape


def _bias(link: Link) -> Tensor:
    """The base's bias, in fp32; zeros where there is none."""
    weight, bias = _weight(link), cast("Tensor | None", link.layer.bias)
    return weight.new_zeros(len(weight)) if bias is None else bias.detach()


def _channels_last(rows: Tensor, link: Link) -> Tensor:
    """Columns of rows in the order of a channels-last weight: (rows, in·k·k) to (rows, k·k·in)."""
    shape = _weight_shape(link)
    return rows if len(shape) == 2 else rows.view(-1, *shape[1:]).permute(0, 2, 3, 1).flatten(1)


def _padded(group: Sequence[Link], device: torch.device) -> Tensor:
    """The base's weights, (m, n, c), zeros below the shorter ones."""
    weights = torch.zeros(_extent(group), device=device)
    for place, link in enumerate(group):
        weights[place, : len(_weight(link))] = _channels_last(_weight(link), link)
    return weights


def _lengths(group: Sequence[Link], device: torch.device) -> Tensor | None:
    """Lengths of the base's rows where deltas are decomposed, (m, n); 0 where none is asked for."""
    if not any(isinstance(link.delta, WeightDecomposed) for link in group):
        return None
    lengths = torch.zeros(_extent(group)[:2], device=device)
    for place, link in enumerate(group):
        if isinstance(link.delta, WeightDecomposed):
            lengths[place, : len(_weight(link))] = torch.linalg.vector_norm(_weight(link), dim=1)
    return lengths


class _AllAtOnce(torch.autograd.Function):
    """Parameters' numbers to all weights and biases, and their gradients back."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, dtype: torch.dtype, *values: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        flat = torch.cat([*(value.reshape(-1) for value in values), values[0].new_zeros(1)])
        numbers = flat.index_select(0, plan.gather)
        b, a, g = plan.sections
        ups, downs = numbers[:b] * plan.strength, numbers[b : b + a]
        gains, gain, shift = numbers[b + a :].split([g, len(plan.rows), len(plan.rows)])
        gains = gains + 1
        weights: list[Tensor] = []
        scales, ratios = [], []
        for group in plan.groups:
            m, n, c = group.weight.shape
            whole = group.weight
            if group.rank:
                whole = torch.baddbmm(whole, ups[group.ups].view(m, n, -1), downs[group.downs].view(m, -1, c))
            scale, ratio = gains[group.gains].view(m, n, 1), None
            if group.lengths is not None:
                ratio = _ratio(group.lengths, whole)
                scale = scale * ratio
            scales.append(scale)
            ratios.append(ratio)
            made = torch.empty(m, n, c, dtype=dtype, device=whole.device)
            torch.mul(whole, scale, out=made)
            weights += made.unbind()
        ctx.plan, ctx.scales, ctx.ratios = plan, scales, ratios
        ctx.save_for_backward(ups, downs)
        ctx.sizes = [value.shape for value in values]
        biases = torch.addcmul(shift, plan.bias, gain + 1).to(dtype).split([shape[0] for shape in plan.shapes])
        return (*(_as_weight(rows, shape) for rows, shape in zip(weights, plan.shapes, strict=True)), *biases)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        plan: _Plan = ctx.plan
        ups, downs = ctx.saved_tensors
        b, a, g = plan.sections
        found = torch.empty(b + a + 2 * len(plan.rows), device=ups.device)  # dB, dA, dg, dt
        padded = torch.empty(g, device=ups.device)  # dg as the products give it
        waiting = list(grads[: len(plan.shapes)])
        for group, scale, ratio in zip(plan.groups, ctx.scales, ctx.ratios, strict=True):
            m, n, c = group.weight.shape
            grad = _together(waiting[:m], plan.shapes[len(plan.shapes) - len(waiting) :], group.weight)
            del waiting[:m]
            loud = torch.linalg.vecdot(grad, group.weight)  # Σ D·W
            if group.rank:
                up, down = ups[group.ups].view(m, n, -1), downs[group.downs].view(m, -1, c)  # s B, A
                low = torch.bmm(grad, down.transpose(1, 2))  # U
                loud = loud + torch.linalg.vecdot(low, up)
                torch.mul(low, scale, out=found[group.ups].view_as(low))  # s is still missing
                into = found[b + group.downs.start : b + group.downs.stop].view_as(down)
                torch.bmm((up * scale).transpose(1, 2), grad, out=into)
            padded[group.gains] = (loud if ratio is None else loud * ratio[..., 0]).flatten()
        found[:b] *= plan.strength
        bias = torch.cat(
            [
                plan.bias.new_zeros(shape[0]) if grad is None else grad.to(plan.bias.dtype)
                for grad, shape in zip(grads[len(plan.shapes) :], plan.shapes, strict=True)
            ]
        )
        gain, shift = found[b + a :].view(2, -1)
        torch.addcmul(padded.index_select(0, plan.rows), bias, plan.bias, out=gain)
        shift.copy_(bias)
        flat = found.index_select(0, plan.scatter)
        parts = flat.split([shape.numel() for shape in ctx.sizes])
        return None, None, *(part.view(shape) for part, shape in zip(parts, ctx.sizes, strict=True))


def _ratio(lengths: Tensor, whole: Tensor) -> Tensor:
    """DoRA's q, (m, n, 1); 1 where nothing is decomposed, and where a row has no direction."""
    present = torch.linalg.vector_norm(whole, dim=2)
    known = (present > 0) & (lengths > 0)
    return torch.where(known, lengths / present.clamp_min(1e-30), 1.0)[..., None]


def _as_weight(rows: Tensor, shape: torch.Size) -> Tensor:
    """The first rows of (n, c), channels last, as a weight of this shape."""
    rows = rows[: shape[0]]
    return rows if len(shape) == 2 else rows.view(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2)


def _together(grads: Sequence[Tensor | None], shapes: Sequence[torch.Size], weight: Tensor) -> Tensor:
    """Gradients of a group's weights in one tensor of the weight's shape and dtype, (m, n, c)."""
    whole = torch.zeros_like(weight)
    places, there = [], []
    for place, (grad, shape) in enumerate(zip(grads, shapes, strict=False)):
        if grad is not None:
            rows = grad if len(shape) == 2 else grad.permute(0, 2, 3, 1)
            places.append(whole[place, : shape[0]].view(rows.shape))
            there.append(rows)
    if places:
        torch._foreach_copy_(places, there)
    return whole
