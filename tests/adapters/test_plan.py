from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from vision_lora.adapters.adapter import Adapter, Card
from vision_lora.adapters.plan import make_plan
from vision_lora.adapters.weights.deltas import VARIANTS, LowRank, max_rank
from vision_lora.errors import AdapterError


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.depth = nn.Conv2d(4, 4, 3, groups=4)
        self.norm = nn.BatchNorm2d(4)
        self.attention = nn.MultiheadAttention(8, 2)
        self.fixed = nn.Conv2d(16, 1, 1, bias=False)
        self.classes = nn.Conv2d(4, 80, 1)


def entries(**options: object) -> dict[str, tuple[str, int, int, str]]:
    plan = make_plan(
        Network(), class_layers=["classes"], new_classes=6, fixed={"fixed": "an integral"}, **{"rank": 8, **options}
    )
    return {entry.site: (entry.variant, entry.rank, entry.parameters, entry.reason) for entry in plan.entries}


def test_every_layer_with_parameters_is_named_with_its_treatment() -> None:
    assert entries() == {
        "stem": ("lora", 3, 3 * (4 + 27) + 8, "rank capped from 8: the factors would outgrow the weight"),
        "depth": ("ssf", 0, 8, "depthwise: scale and shift"),
        "norm": ("", 0, 0, "no weight matrix: BatchNorm2d stays"),
        "attention.in_proj": ("lora", 6, 6 * (24 + 8) + 48, "rank capped from 8: the factors would outgrow the weight"),
        "attention.out_proj": ("lora", 4, 4 * 16 + 16, "rank capped from 8: the factors would outgrow the weight"),
        "fixed": ("", 0, 0, "an integral"),
        "classes": ("rows", 0, 6 * 5, "80 old rows stay, new ones beside them"),
    }


def test_the_frozen_factor_does_not_count_as_learned() -> None:
    assert entries(variant="lora-fa", rank=2)["stem"][2] == 2 * 4 + 8


def test_planned_parameters_are_the_adapters() -> None:
    for variant in VARIANTS:
        plan = make_plan(Network(), rank=4, variant=variant, class_layers=["classes"], new_classes=6)
        adapter = Adapter.from_plan(plan, Card("test", "base", "", ("a",), 4.0))
        assert plan.parameters == sum(adapter.parameter_count().values())


def test_placement_leaves_layers_with_the_reason() -> None:
    found = entries(within=lambda layer: layer == "stem")
    assert found["depth"] == ("", 0, 0, "outside the placement or the budget")
    assert found["classes"][0] == "rows"
    assert found["stem"][0] == "lora"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank 0: expected 1 or more"),
        ({"variant": "magic"}, "variant 'magic' is unknown: expected one of lora,"),
        ({"within": lambda layer: False}, "no layer of the network matched"),
        ({"class_layers": ["nowhere"]}, "layer nowhere for the new classes is not in the network"),
    ],
)
def test_mistakes_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        make_plan(Network(), **{"rank": 8, **options})


def test_table_has_a_line_for_each_layer() -> None:
    lines = make_plan(Network(), rank=8).table().splitlines()
    assert len(lines) == 7
    assert "conv 3x3" in lines[0]
    assert "lora r3" in lines[0]


def test_rank_beyond_the_weight_is_refused() -> None:
    assert max_rank(4, 27) == 3
    assert max_rank(1, 1) == 1
    with pytest.raises(AdapterError, match="expected 1 to 3"):
        LowRank(4, 27, 4, 1.0)


def test_a_known_delta() -> None:
    delta = LowRank(2, 3, 1, alpha=2.0)
    with torch.no_grad():
        delta.up.copy_(torch.tensor([[1.0], [2.0]]))
        delta.down.copy_(torch.tensor([[1.0, 0.0, -1.0]]))
        delta.gain.copy_(torch.tensor([0.0, 1.0]))
        delta.shift.copy_(torch.tensor([5.0, 6.0]))
    weight, bias = delta(torch.ones(2, 3), torch.tensor([1.0, 1.0]))
    assert torch.equal(weight, torch.tensor([[3.0, 1.0, -1.0], [10.0, 2.0, -6.0]]))
    assert torch.equal(bias, torch.tensor([6.0, 8.0]))


@pytest.mark.parametrize("variant", ["lora", "dora", "lora-fa", "rslora"])
def test_a_higher_rank_moves_a_layer_no_faster(variant: str) -> None:
    """Under Adam each rank adds to the steps of B·A, so the default factor falls with the root of their number."""
    kind = VARIANTS[variant]
    assert issubclass(kind, LowRank)

    def factor(rank: int) -> float:
        return kind(64, 64, rank, kind.default_alpha(rank)).strength

    assert kind.default_alpha(8) == pytest.approx(16 / math.sqrt(8) if variant == "rslora" else 16, abs=0)
    assert [factor(rank) for rank in (4, 8, 16, 32)] == pytest.approx([2 * math.sqrt(2), 2, math.sqrt(2), 1])
