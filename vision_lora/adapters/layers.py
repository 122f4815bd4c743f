"""Layers that compute with the weight and bias that the active deltas give them.

Attaching changes only the class of a layer object (as `torch.nn.utils.parametrize` does): its name, its parameters and
every reference to it stay, and so do the network's `state_dict` and the base's fingerprint. The active deltas hang on
the layer without being registered as its submodules: they belong to their adapter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vision_lora.adapters.weights import bias_apart, factored
from vision_lora.adapters.weights.deltas import Delta, ScaleShift
from vision_lora.adapters.weights.live import LiveNorm

Parameters = dict[str, Tensor | None]


class Site(NamedTuple):
    """One weight of a layer that a delta can change.

    Attributes:
        rows: the weight with one row per output channel, (rows, columns).
        bias: (rows,), or None where the layer has none.
        kind: the layer in a few words, for the plan: `conv 3x3`.
        depthwise: whether each output channel sees a single input channel, where low rank saves nothing.
    """

    rows: Tensor
    bias: Tensor | None
    kind: str
    depthwise: bool = False


class Adapted(nn.Module):
    """Mixin of all adapted layers: computes with what the active deltas give, and keeps that while nothing changes.

    Attributes:
        active: the deltas of the active adapter by site name; empty in the base pass.
        given: what a `Bank` has made of them for the length of a pass in training; None where it has not.
        overwritten: whether the network changes the layer's output in place, so that no backward can keep it.
    """

    plain: ClassVar[type[nn.Module]]
    active: dict[str, Delta]
    given: Parameters | None = None
    overwritten: bool = False
    _kept: tuple[Any, Parameters]

    def sites(self) -> dict[str, Site]:
        """The weights that deltas can change, by name; the only one of a layer has an empty name."""
        raise NotImplementedError(type(self).__name__)

    def assemble(self, rows: dict[str, Tensor], biases: Parameters) -> Parameters:
        """The layer's own parameters from the rows and biases of its sites."""
        raise NotImplementedError(type(self).__name__)

    def effective(self) -> Parameters:
        """The parameters that the layer computes with: the merged ones.

        With gradients enabled they are made anew, as part of the graph. Without, they are kept until a delta or the
        base changes: an attached adapter costs nothing at inference.
        """
        if torch.is_grad_enabled():
            return self.given or self._compute()
        if any(_norm(delta) for delta in self.active.values()):  # its statistics change without a trace
            return self._compute()
        # Data pointers tell moved and replaced tensors, versions tell changes in place.
        key = [
            (tensor.data_ptr(), tensor._version)
            for module in (*self._owners(), *self.active.values())
            for tensor in module._parameters.values()
            if tensor is not None
        ]
        if self._kept[0] != key:
            self._kept = (key, self._compute())
        return self._kept[1]

    def _compute(self) -> Parameters:
        rows, biases = {}, {}
        for name, site in self.sites().items():
            delta = self.active.get(name)
            rows[name], biases[name] = (site.rows, site.bias) if delta is None else delta(site.rows, site.bias)
        return self.assemble(rows, biases)

    def _owners(self) -> tuple[nn.Module, ...]:
        return (self,)


class AdaptedConv2d(Adapted, nn.Conv2d):
    """Convolution: dense, grouped, depthwise, strided, dilated, with any padding mode.

    A grouped weight (out, in / groups, k, k) has rows of in / groups · k · k numbers: B·A is block-diagonal by itself.
    """

    plain = nn.Conv2d

    def sites(self) -> dict[str, Site]:
        kernel = "x".join(map(str, self.kernel_size))
        groups = f" g{self.groups}" if self.groups > 1 else ""
        depthwise = self.groups > 1 and self.weight.shape[1] == 1
        return {"": Site(self.weight.flatten(1), self.bias, f"conv {kernel}{groups}", depthwise)}

    def assemble(self, rows: dict[str, Tensor], biases: Parameters) -> Parameters:
        return {"weight": rows[""].view(-1, *self.weight.shape[1:]), "bias": biases[""]}

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (B, in, H, W) to (B, out, H', W')."""
        if not self.active:
            return super().forward(input)
        delta = self.active[""]
        if self.training and torch.is_grad_enabled() and (norm := _norm(delta)):
            return self._normalised(delta, norm, input)  # type: ignore[arg-type]
        if torch.is_grad_enabled() and factored.applies(self, delta, input):
            return factored.run(self, delta, self.weight.flatten(1), input)  # type: ignore[arg-type]
        effective = self.effective()
        weight, bias = effective["weight"], effective["bias"]
        assert weight is not None, "a convolution has a weight"
        if torch.is_grad_enabled() and bias is not None and bias_apart.applies(self, input):
            return bias_apart.run(self, weight, bias, input)
        output: Tensor = self._conv_forward(input, weight, bias)
        return output

    def _normalised(self, delta: ScaleShift, norm: LiveNorm, input: Tensor) -> Tensor:
        """Convolve with the unfolded weight, and normalise by this batch."""
        assert delta.shift is not None, "a folded layer has a bias"
        rows = delta.direction(self.weight.flatten(1)) / norm.factor[:, None]
        convolved = self._conv_forward(input, rows.view_as(self.weight), None)
        return norm(convolved, 1 + delta.gain, delta.shift)  # type: ignore[no-any-return]


class AdaptedConvTranspose2d(Adapted, nn.ConvTranspose2d):
    """Transposed convolution: its output channels lie on the weight's second axis, (in, out / groups, k, k)."""

    plain = nn.ConvTranspose2d

    def sites(self) -> dict[str, Site]:
        inputs, outputs, *kernel = self.weight.shape
        rows = self.weight.view(self.groups, inputs // self.groups, outputs, *kernel).transpose(1, 2)
        kind = f"conv-transpose {'x'.join(map(str, self.kernel_size))}"
        depthwise = self.groups > 1 and self.groups == inputs
        return {"": Site(rows.reshape(self.groups * outputs, -1), self.bias, kind, depthwise)}

    def assemble(self, rows: dict[str, Tensor], biases: Parameters) -> Parameters:
        inputs, outputs, *kernel = self.weight.shape
        weight = rows[""].view(self.groups, outputs, inputs // self.groups, *kernel).transpose(1, 2)
        return {"weight": weight.reshape(self.weight.shape), "bias": biases[""]}

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve (B, in, H, W) to (B, out, H', W')."""
        if not self.active:
            return super().forward(input, output_size)
        with _exchanged(self, self.effective()):
            return super().forward(input, output_size)


class AdaptedLinear(Adapted, nn.Linear):
    """Linear layer."""

    plain = nn.Linear

    def sites(self) -> dict[str, Site]:
        return {"": Site(self.weight, self.bias, "linear")}

    def assemble(self, rows: dict[str, Tensor], biases: Parameters) -> Parameters:
        return {"weight": rows[""], "bias": biases[""]}

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        if not self.active:
            return super().forward(input)
        delta = self.active[""]
        if torch.is_grad_enabled() and factored.applies(self, delta, input):
            return factored.run(self, delta, self.weight, input)  # type: ignore[arg-type]
        effective = self.effective()
        return F.linear(input, effective["weight"], effective["bias"])  # type: ignore[arg-type]


class AdaptedMultiheadAttention(Adapted, nn.MultiheadAttention):
    """Attention, with one site for each projection.

    The layer reads `in_proj_weight` and `out_proj.weight` itself and never calls `out_proj`. So the tensors are
    exchanged for the length of a call; a wrapper around `out_proj` would be dead: it would get no gradient.
    """

    plain = nn.MultiheadAttention

    def sites(self) -> dict[str, Site]:
        if self._qkv_same_embed_dim:
            named = {"in_proj": Site(self.in_proj_weight, self.in_proj_bias, "attention qkv")}
        else:
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
            biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
            named = {
                f"{part}_proj": Site(weight, bias, f"attention {part}")
                for part, weight, bias in zip("qkv", weights, biases, strict=True)
            }
        return {**named, "out_proj": Site(self.out_proj.weight, self.out_proj.bias, "attention out")}

    def assemble(self, rows: dict[str, Tensor], biases: Parameters) -> Parameters:
        parameters: Parameters = {"out_proj.weight": rows["out_proj"], "out_proj.bias": biases["out_proj"]}
        if self._qkv_same_embed_dim:
            return {**parameters, "in_proj_weight": rows["in_proj"], "in_proj_bias": biases["in_proj"]}
        parts = [bias for part in "qkv" if (bias := biases[f"{part}_proj"]) is not None]
        parameters["in_proj_bias"] = torch.cat(parts) if parts else None
        return {**parameters, **{f"{part}_proj_weight": rows[f"{part}_proj"] for part in "qkv"}}

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        """As `nn.MultiheadAttention.forward`."""
        if not self.active:
            return super().forward(*args, **kwargs)
        with _exchanged(self, self.effective()):
            return super().forward(*args, **kwargs)

    def _owners(self) -> tuple[nn.Module, ...]:
        return (self, self.out_proj)


class AdaptedEmbedding(Adapted, nn.Embedding):
    """Table of learned vectors, one a row: classes in denoising, queries, positions.

    Some networks never call it and read `weight`, so that is where it gives what the active delta makes of the table.
    """

    plain = nn.Embedding

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The table that is looked into, (rows, columns): the effective one."""
        own = self._parameters["weight"]
        effective = self.effective()["weight"] if self.active else own
        assert effective is not None, "an embedding has a table"
        return effective

    def sites(self) -> dict[str, Site]:
        own = self._parameters["weight"]
        assert own is not None, "an embedding has a table"
        return {"": Site(own, None, "embedding")}

    def assemble(self, rows: dict[str, Tensor], biases: Parameters) -> Parameters:  # noqa: ARG002 - it has no bias
        return {"weight": rows[""]}


_KINDS: tuple[type[Adapted], ...] = (
    AdaptedConv2d,
    AdaptedConvTranspose2d,
    AdaptedEmbedding,
    AdaptedLinear,
    AdaptedMultiheadAttention,
)
ADAPTED: dict[type[nn.Module], type[Adapted]] = {kind.plain: kind for kind in _KINDS}


def sites(layer: nn.Module) -> dict[str, Site]:
    """The weights of a plain or adapted layer that deltas can change, by name; none for a layer of another kind."""
    kind = type(layer) if isinstance(layer, Adapted) else ADAPTED.get(type(layer))
    return {} if kind is None else kind.sites(layer)  # type: ignore[arg-type]


def adapt(layer: nn.Module) -> Adapted:
    """Make `layer` able to carry deltas; none is active yet, so it computes as before."""
    if not isinstance(layer, Adapted):
        layer.__class__ = ADAPTED[type(layer)]
        layer.__dict__["active"] = {}
        layer.__dict__["_kept"] = (None, {})
    assert isinstance(layer, Adapted)
    return layer


def restore(layer: Adapted) -> None:
    """Undo `adapt`: the layer is of its plain class again, its parameters untouched."""
    for name in ("active", "given", "_kept"):
        layer.__dict__.pop(name, None)
    layer.__class__ = layer.plain  # type: ignore[assignment]


def _norm(delta: Delta) -> LiveNorm | None:
    """A delta's live BatchNorm."""
    return delta.norm if isinstance(delta, ScaleShift) else None


@contextmanager
def _exchanged(layer: nn.Module, parameters: Mapping[str, Tensor | None]) -> Iterator[None]:
    """Let `layer` compute with other parameters for a while; dotted names reach into its submodules."""
    before = []
    for path, tensor in parameters.items():
        owner, _, name = path.rpartition(".")
        registry = layer.get_submodule(owner)._parameters
        before.append((registry, name, registry.get(name)))
        registry[name] = tensor  # type: ignore[assignment]
    try:
        yield
    finally:
        for registry, name, tensor in before:
            registry[name] = tensor
