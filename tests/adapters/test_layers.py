"""Every layer kind with every variant and dtype: identity, gradient, merge, unmerge."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vision_lora.adapters.adapter import Adapter, Card, fingerprint
from vision_lora.adapters.attach import AdapterSet
from vision_lora.adapters.layers import Adapted, sites
from vision_lora.adapters.plan import make_delta, make_plan
from vision_lora.adapters.weights.deltas import VARIANTS, NewRows


class SelfAttention(nn.Module):
    """Attention as a plain function of one tensor, (B, L, E) or (L, B, E)."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x)[0]


class CrossAttention(nn.Module):
    """Attention whose keys and values have other sizes than its queries."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, kdim=6, vdim=5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x[..., :6], x[..., :5])[0]


class Lookup(nn.Module):
    """An embedding as a function of a tensor: called, or with its table read as some decoders do."""

    def __init__(self, *, called: bool) -> None:
        super().__init__()
        self.table, self.called = nn.Embedding(8, 12), called

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.arange(x.shape[-1])
        return x @ (self.table(rows) if self.called else self.table.weight[rows])


PICTURE, TOKENS = (2, 8, 9, 9), (2, 7, 8)
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv": (lambda: nn.Conv2d(8, 12, 3, padding=1), PICTURE),
    "conv no bias": (lambda: nn.Conv2d(8, 12, 1, bias=False), PICTURE),
    "conv strided": (lambda: nn.Conv2d(8, 12, 3, stride=2, padding=1), PICTURE),
    "conv dilated": (lambda: nn.Conv2d(8, 12, 3, padding=2, dilation=2), PICTURE),
    "conv not square": (lambda: nn.Conv2d(8, 12, (1, 5), padding=(0, 2)), PICTURE),
    "conv grouped": (lambda: nn.Conv2d(8, 12, 3, padding=1, groups=4), PICTURE),
    "conv depthwise": (lambda: nn.Conv2d(8, 8, 3, padding=1, groups=8), PICTURE),
    "conv reflect": (lambda: nn.Conv2d(8, 12, 3, padding=1, padding_mode="reflect"), PICTURE),
    "conv same": (lambda: nn.Conv2d(8, 12, 3, padding="same"), PICTURE),
    "conv transpose": (lambda: nn.ConvTranspose2d(8, 12, 3, stride=2), PICTURE),
    "conv transpose grouped": (lambda: nn.ConvTranspose2d(8, 12, 2, stride=2, groups=2), PICTURE),
    "linear": (lambda: nn.Linear(8, 12), TOKENS),
    "linear no bias": (lambda: nn.Linear(8, 12, bias=False), TOKENS),
    "embedding": (lambda: Lookup(called=True), TOKENS),
    "embedding read": (lambda: Lookup(called=False), TOKENS),
    "attention": (lambda: SelfAttention(batch_first=True), TOKENS),
    "attention sequence first": (lambda: SelfAttention(), TOKENS),
    "attention no bias": (lambda: SelfAttention(bias=False), TOKENS),
    "attention odd heads": (lambda: SelfAttention(add_zero_attn=True, batch_first=True), TOKENS),
    "cross attention": (CrossAttention, TOKENS),
}
layer_kinds = pytest.mark.parametrize("kind", LAYERS)
variants = pytest.mark.parametrize("variant", VARIANTS)


def build(kind: str, variant: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Adapter, AdapterSet, Tensor]:
    torch.manual_seed(0)
    make, shape = LAYERS[kind]
    network = nn.Sequential(make()).to(dtype).requires_grad_(False).eval()
    print_of = fingerprint(network.state_dict())
    adapter = Adapter.from_plan(
        make_plan(network, rank=3, variant=variant), Card("test", "base", print_of, ("a",), 6.0)
    )
    return network, adapter.to(dtype), AdapterSet(network, print_of), torch.randn(shape, dtype=dtype)


def randomise(adapter: Adapter) -> None:
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.normal_(0, 0.3)


@layer_kinds
@variants
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_attaching_changes_no_bit(kind: str, variant: str, dtype: torch.dtype) -> None:
    network, adapter, adapters, x = build(kind, variant, dtype)
    with torch.no_grad():
        before = network(x)
        adapters.attach(adapter)
        assert torch.equal(network(x), before)
    assert any(isinstance(module, Adapted) for module in network.modules())


@layer_kinds
@variants
def test_every_learned_tensor_gets_gradient_within_two_steps(kind: str, variant: str) -> None:
    network, adapter, adapters, x = build(kind, variant)
    adapters.attach(adapter)
    learned = {
        f"{site}.{name}": tensor for site, delta in adapter.deltas.items() for name, tensor in delta.learned().items()
    }
    optimizer = torch.optim.SGD(learned.values(), lr=0.1)
    seen: set[str] = set()
    for _ in range(2):
        optimizer.zero_grad()
        (network(x) ** 2).sum().backward()
        seen |= {name for name, tensor in learned.items() if tensor.grad is not None and tensor.grad.abs().max() > 0}
        optimizer.step()
    silent = learned.keys() - seen
    # Softmax ignores what is added to all keys alike, so the shift of a key projection has no effect by itself.
    assert not {name for name in silent if "k_proj.shift" not in name}
    assert all(parameter.grad is None for parameter in network.parameters())


@layer_kinds
@variants
def test_merged_network_is_plain_and_computes_the_same(kind: str, variant: str) -> None:
    network, adapter, adapters, x = build(kind, variant)
    before = copy.deepcopy(network.state_dict())
    adapters.attach(adapter)
    randomise(adapter)
    with torch.no_grad():
        attached = network(x)
        adapters.merge()
        assert not any(isinstance(module, Adapted) for module in network.modules())
        assert "vision_lora" not in str(
            [type(module).__module__ for module in network.modules() if module is not network]
        )
        assert (network(x) - attached).abs().max() <= 1e-5 * attached.abs().max()
        adapters.unmerge()
        assert torch.equal(network(x), attached)
        adapters.detach()
    assert fingerprint(network.state_dict()) == fingerprint(before)
    assert not any(isinstance(module, Adapted) for module in network.modules())


@layer_kinds
@variants
def test_factors_act(kind: str, variant: str) -> None:
    network, adapter, adapters, x = build(kind, variant)
    with torch.no_grad():
        before = network(x)
        adapters.attach(adapter)
        randomise(adapter)
        assert (network(x) - before).abs().max() > 1e-3
        with adapters.enabled(False):
            assert torch.equal(network(x), before)


@layer_kinds
@variants
def test_training_pass_equals_inference_pass(kind: str, variant: str) -> None:
    network, adapter, adapters, x = build(kind, variant)
    adapters.attach(adapter)
    randomise(adapter)
    with torch.no_grad():
        kept = network(x)
    assert torch.allclose(network(x), kept, atol=1e-5)


def test_kept_weights_follow_every_change() -> None:
    network, adapter, adapters, x = build("conv", "lora")
    adapters.attach(adapter)
    delta = next(iter(adapter.deltas.values()))
    outputs = []
    with torch.no_grad():
        outputs.append(network(x))
        delta.up.normal_()  # in place
        outputs.append(network(x))
        adapter.load_state_dict({name: tensor * 2 for name, tensor in adapter.state_dict().items()})
        outputs.append(network(x))
        delta.up = nn.Parameter(torch.randn_like(delta.up))  # replaced
        outputs.append(network(x))
        delta.gain.data = torch.ones_like(delta.gain)  # moved
        outputs.append(network(x))
        network[0].weight.mul_(2)
        outputs.append(network(x))
    assert all((a - b).abs().max() > 1e-4 for a, b in itertools.pairwise(outputs))


def test_zero_rows_stay_finite_with_dora() -> None:
    network, adapter, adapters, x = build("conv", "dora")
    with torch.no_grad():
        network[0].weight[3] = 0
    adapters.attach(adapter)
    randomise(adapter)
    network(x).sum().backward()
    assert torch.isfinite(network(x)).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in adapter.parameters())


def test_dora_keeps_the_length_of_each_row() -> None:
    network, adapter, adapters, _ = build("linear", "dora")
    adapters.attach(adapter)
    delta = next(iter(adapter.deltas.values()))
    with torch.no_grad():
        delta.up.normal_()
        delta.gain.fill_(0.5)
        effective = network[0].effective()["weight"]
    assert torch.allclose(effective.norm(dim=1), 1.5 * network[0].weight.norm(dim=1), atol=1e-5)


def test_rslora_is_stronger_than_lora_by_the_root_of_the_rank() -> None:
    changes = []
    for variant in ("lora", "rslora"):
        _, adapter, _, _ = build("linear", variant)
        delta = next(iter(adapter.deltas.values()))
        with torch.no_grad():
            delta.up.fill_(1.0)
        changes.append(delta.low_rank())
    assert torch.allclose(changes[1], changes[0] * 3**0.5)


def test_joint_rows_stand_behind_the_old_ones() -> None:
    layer = nn.Conv2d(4, 5, 1)
    site = sites(layer)[""]
    rows = NewRows(2, 4, keep=True)
    weight, bias = rows(site.rows, site.bias)
    assert torch.equal(weight[:5], site.rows)
    assert bias is not None
    assert weight.shape == (7, 4)
    assert bias.shape == (7,)


@pytest.mark.parametrize("called", [True, False])
@pytest.mark.parametrize("joint", [True, False])
def test_new_rows_of_an_embedding_have_no_bias_and_merge(called: bool, joint: bool) -> None:
    network = Lookup(called=called).requires_grad_(False)
    base = network.table.weight.clone()
    plan = make_plan(
        nn.ModuleDict({"net": network, "other": nn.Linear(2, 2)}), rank=1, class_layers=("net.table",), new_classes=3
    )
    rows = next(entry for entry in plan.entries if entry.site == "net.table")
    delta = make_delta(rows, alpha=1.0, joint=joint)
    assert [name for name, _ in delta.named_parameters()] == ["weight"]
    adapters = AdapterSet(network, print_of := fingerprint(network.state_dict()))
    adapters.attach(Adapter({"table": delta}, Card("test", "base", print_of, ("a", "b", "c"), 1.0)))
    expected = torch.cat((base, delta.weight)) if joint else delta.weight
    index = torch.arange(len(expected))
    with torch.no_grad():
        delta.weight.normal_()
        expected = torch.cat((base, delta.weight)) if joint else delta.weight
        assert torch.equal(network.table.weight, expected)
        assert torch.equal(network.table(index), expected)
        assert torch.equal(network.state_dict()["table.weight"], base)
        adapters.merge()
        assert type(network.table) is nn.Embedding
        assert network.table.num_embeddings == len(expected)
        assert torch.equal(network.table(index), expected)
