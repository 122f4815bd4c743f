"""Plain LoRA goes to PEFT and comes back with the same outputs; what cannot is said."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.adapters import build
from vision_lora.adapters.adapter import Adapter, Card, fingerprint
from vision_lora.adapters.file import load_adapter, save_adapter
from vision_lora.adapters.peft import CONFIG, WEIGHTS, read_peft, write_peft
from vision_lora.adapters.weights.deltas import LowRank, RankStabilised
from vision_lora.detectors.new_adapter import new_adapter
from vision_lora.detectors.yolo import YoloDetector
from vision_lora.errors import AdapterError, BrokenAdapterError, ForeignLayoutError, MismatchError

peft = pytest.importorskip("peft")

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
NAMES = ("a", "b", "c", "d", "e")


class Convs(nn.Module):
    """What PEFT can hold: dense, 1x1, strided, non-square and grouped convolutions, a linear layer.

    One layer is called `0`, which is also how the names of others end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.add_module("0", nn.Conv2d(3, 8, 3, stride=2, padding=1))
        self.body = nn.Sequential(
            nn.Conv2d(8, 16, 1),
            nn.SiLU(),
            nn.Conv2d(16, 16, (3, 5), padding=(1, 2), bias=False),
            nn.Conv2d(16, 32, 3, groups=4, stride=(1, 2)),
        )
        self.linear = nn.Linear(32, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.body(self.get_submodule("0")(images)).mean((2, 3)))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """PEFT warns that it cannot merge grouped convolutions, and that rslora beside patterns cannot be converted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def network() -> nn.Module:
    torch.manual_seed(0)
    return Convs().eval().requires_grad_(False)


def card(net: nn.Module) -> Card:
    return Card("small", "small.pt", fingerprint(net.state_dict()), NAMES, 1.0)


def ours(variant: str = "lora", **options: Any) -> tuple[Adapter, Tensor]:
    """An adapter with low rank only, and what the network computes with it."""
    net = network()
    adapter = build.only_low_rank(build.adapter_of(net, variant, **options))
    adapters = build.adapter_set(net)
    adapters.attach(adapter)
    return adapter, net(IMAGES)


def with_peft(folder: Path) -> Tensor:
    return peft.PeftModel.from_pretrained(network(), str(folder)).eval()(IMAGES)


def trained_in_peft(folder: Path, **options: Any) -> Tensor:
    """A LoRA of PEFT's with random factors, saved; and what the network computes with it."""
    net = network()
    model = peft.get_peft_model(net, peft.LoraConfig(**{"r": 2, "lora_alpha": 3, **options}))
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.uniform_(-0.3, 0.3, generator=generator)
    model.save_pretrained(str(folder))
    return model.eval()(IMAGES)


def close(a: Tensor, b: Tensor) -> None:
    assert (a - b).abs().max() <= 1e-5


TARGETS = ["0", "body.0", "body.2", "linear"]


@pytest.mark.parametrize("variant", ["lora", "rslora", "lora-fa"])
@pytest.mark.parametrize("rank", [1, 3, 64])  # 64 is capped differently in each layer
def test_peft_computes_the_same_with_ours(variant: str, rank: int, tmp_path: Path) -> None:
    adapter, expected = ours(variant, rank=rank)
    assert set(adapter.deltas) == {"0", "body.0", "body.2", "body.3", "linear"}
    assert write_peft(adapter, network(), tmp_path / "new" / "peft") == ()
    assert (expected - network()(IMAGES)).abs().max() > 0.01
    close(with_peft(tmp_path / "new" / "peft"), expected)


@pytest.mark.parametrize("variant", ["lora", "rslora"])
def test_there_and_back(variant: str, tmp_path: Path) -> None:
    adapter, expected = ours(variant, rank=3)
    write_peft(adapter, network(), tmp_path)
    back = read_peft(tmp_path, network(), card(network()))
    for site, delta in adapter.deltas.items():
        other = back.deltas[site]
        assert isinstance(delta, LowRank)
        assert type(other) is type(delta)
        assert torch.equal(other.down, delta.down)
        assert torch.allclose(other.low_rank(), delta.low_rank(), atol=1e-7)
    close(attached(back), expected)


def attached(adapter: Adapter) -> Tensor:
    net = network()
    build.adapter_set(net).attach(adapter)
    return net(IMAGES)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"body.0": 1, "linear": 4}},
        {"alpha_pattern": {"body.0": 7, r"^0": 5}},
        {"alpha_pattern": {"0": 5}},  # PEFT means body.0 too
        {"alpha_pattern": {r"^body\.2": 0.5}, "rank_pattern": {"2": 3}, "use_rslora": True},
        {"target_modules": ["linear"]},
        {"target_modules": r"body\.[02]"},
        {"init_lora_weights": "gaussian"},
        {"lora_dropout": 0.1},
    ],
    ids=str,
)
def test_we_compute_the_same_with_pefts(options: dict[str, Any], tmp_path: Path) -> None:
    expected = trained_in_peft(tmp_path, **{"target_modules": TARGETS, **options})
    adapter = read_peft(tmp_path, network(), card(network()))
    kind = RankStabilised if options.get("use_rslora") else LowRank
    assert {type(delta) for delta in adapter.deltas.values()} == {kind}
    assert (expected - network()(IMAGES)).abs().max() > 0.01
    close(attached(adapter), expected)

    save_adapter(adapter, tmp_path / "ours.safetensors")
    close(attached(load_adapter(tmp_path / "ours.safetensors")), expected)


def test_a_real_detector_there_and_back(shared: Path, tmp_path: Path) -> None:
    detector = YoloDetector.load(str(shared / "weights" / "yolo11n.pt"))
    adapter = build.only_low_rank(new_adapter(detector, ("scratch",)))
    for delta in adapter.deltas.values():
        delta.get_parameter("up").data.normal_(std=0.02, generator=torch.manual_seed(0))
    images = torch.rand(1, 3, 96, 96)
    network = detector.network.eval()
    with torch.no_grad():
        before = network(images)[0]
        detector.adapters.attach(adapter)
        expected = network(images)[0]
        detector.adapters.detach()
        assert write_peft(adapter, network, tmp_path) == ()
        back = read_peft(tmp_path, network, adapter.card)
        detector.adapters.attach(back)
        assert torch.equal(network(images)[0], expected)
        detector.adapters.detach()
        output = peft.PeftModel.from_pretrained(network, str(tmp_path)).eval()(images)[0]
    assert (expected - before)[:, 4:].abs().max() > 1e-3
    close(output[:, 4:], expected[:, 4:])  # scores
    assert (output - expected)[:, :4].abs().max() < 0.01  # pixels


def test_half_precision_of_pefts_is_read(tmp_path: Path) -> None:
    expected = trained_in_peft(tmp_path, target_modules=TARGETS)
    tensors = {name: tensor.bfloat16() for name, tensor in load_file(tmp_path / WEIGHTS).items()}
    save_file(tensors, tmp_path / WEIGHTS)
    assert (attached(read_peft(tmp_path, network(), card(network()))) - expected).abs().max() < 0.02


def test_dense_factors_of_a_grouped_convolution_are_refused(tmp_path: Path) -> None:
    trained_in_peft(tmp_path, target_modules=["body.3"], r=4)
    with pytest.raises(ForeignLayoutError, match=r"layer 'body\.3': .* mixes the channels of its 4 groups"):
        read_peft(tmp_path, network(), card(network()))


def test_ranks_beyond_the_weight_are_refused_by_layer(tmp_path: Path) -> None:
    trained_in_peft(tmp_path, target_modules=["body.0"], r=64)
    with pytest.raises(ForeignLayoutError, match=r"layer 'body\.0' of the PEFT adapter: rank 64"):
        read_peft(tmp_path, network(), card(network()))


@pytest.mark.parametrize("variant", ["lora", "ssf", "dora"])
def test_nothing_is_left_out_silently(variant: str, tmp_path: Path) -> None:
    net = build.network()
    adapter = build.adapter(net, variant)
    with pytest.raises(ForeignLayoutError, match="PEFT's layout") as raised:
        write_peft(adapter, net, tmp_path / "peft")
    assert "rows of new classes (1 layer)" in str(raised.value)
    assert "channel scale and shift (6 layers)" in str(raised.value)
    assert not (tmp_path / "peft").exists()
    if variant != "lora":
        with pytest.raises(ForeignLayoutError, match="nothing of this adapter"):
            write_peft(adapter, net, tmp_path / "peft", partial=True)


def test_asked_to_the_plain_part_is_written_and_the_rest_named(tmp_path: Path) -> None:
    net = build.network()
    left = write_peft(build.adapter(net), net, tmp_path, partial=True)
    assert left == (
        "channel scale and shift (6 layers)",
        "low rank of dilated convolutions (1 layer)",
        "rows of new classes (1 layer)",
    )
    model = peft.PeftModel.from_pretrained(build.network(), str(tmp_path))
    assert sum("lora_A" in name for name, _ in model.named_parameters()) == 4


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.ConvTranspose2d(4, 4, 2),
        nn.MultiheadAttention(16, 2),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_that_peft_treats_otherwise_are_refused(layer: nn.Module, tmp_path: Path) -> None:
    net = nn.Sequential(layer).requires_grad_(False)
    with pytest.raises(ForeignLayoutError, match=r"nothing of this adapter .* low rank of"):
        write_peft(build.only_low_rank(build.adapter_of(net)), net, tmp_path)


def test_an_adapter_of_another_network_is_refused(tmp_path: Path) -> None:
    adapter, _ = ours()
    other = network()
    other.linear = nn.Linear(33, 5)
    with pytest.raises(MismatchError, match="layer linear"):
        write_peft(adapter, other, tmp_path)
    write_peft(adapter, network(), tmp_path)
    with pytest.raises(MismatchError, match="layer 'linear': the PEFT adapter has factors"):
        read_peft(tmp_path, other, card(other))
    del other.linear
    with pytest.raises(MismatchError, match="layer 'linear' of the PEFT adapter is not in the network"):
        read_peft(tmp_path, other, card(other))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    adapter, _ = ours()
    with pytest.raises(AdapterError, match="cannot be written"):
        write_peft(adapter, network(), tmp_path / "file" / "peft")


CONFIGS: dict[str, tuple[dict[str, Any], type[AdapterError]]] = {
    "other kind": ({"peft_type": "LOHA"}, ForeignLayoutError),
    "DoRA": ({"use_dora": True}, ForeignLayoutError),
    "trained biases": ({"bias": "all"}, ForeignLayoutError),
    "bias of B": ({"lora_bias": True}, ForeignLayoutError),
    "whole layers": ({"modules_to_save": ["linear"]}, ForeignLayoutError),
    "changed base": ({"init_lora_weights": "pissa"}, ForeignLayoutError),
    "regular expression": ({"alpha_pattern": {"(a+)+$": 3}}, ForeignLayoutError),
    "alpha: text": ({"lora_alpha": "3"}, BrokenAdapterError),
    "alpha: none": ({"lora_alpha": None}, BrokenAdapterError),
    "alpha: 0": ({"lora_alpha": 0}, BrokenAdapterError),
    "alpha: NaN": ({"lora_alpha": float("nan")}, BrokenAdapterError),
    "alpha of a layer: text": ({"alpha_pattern": {"linear": "3"}}, BrokenAdapterError),
    "alphas: list": ({"alpha_pattern": [3]}, BrokenAdapterError),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_that_are_no_plain_lora(name: str, tmp_path: Path) -> None:
    trained_in_peft(tmp_path, target_modules=TARGETS)
    values, error = CONFIGS[name]
    file = tmp_path / CONFIG
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
    with pytest.raises(error):
        read_peft(tmp_path, network(), card(network()))


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@settings(max_examples=150, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_value_in_the_config_is_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    good = tmp_path / "good.json"
    if not good.exists():
        trained_in_peft(tmp_path, target_modules=TARGETS)
        (tmp_path / CONFIG).rename(good)
    values = json.loads(good.read_text())
    name = data.draw(st.sampled_from([*values, "lora_alpha", "alpha_pattern", "use_rslora"]))
    (tmp_path / CONFIG).write_text(json.dumps({**values, name: data.draw(ANY)}))
    with suppress(AdapterError):
        read_peft(tmp_path, network(), card(network()))


FILES: dict[str, Callable[[Path], object]] = {
    "no config": lambda folder: (folder / CONFIG).unlink(),
    "no JSON": lambda folder: (folder / CONFIG).write_text("{"),
    "nested": lambda folder: (folder / CONFIG).write_text("[" * 100_000),
    "a list": lambda folder: (folder / CONFIG).write_text("[]"),
    "huge": lambda folder: (folder / CONFIG).write_text(" " * (2**22 + 1)),
    "pickle": lambda folder: (folder / WEIGHTS).rename(folder / "adapter_model.bin"),
    "truncated": lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-8]),
    "no tensors": lambda folder: save_file({}, folder / WEIGHTS),
}
TENSORS: dict[str, dict[str, Tensor]] = {
    "NaN": {"linear.lora_A.weight": torch.full((2, 32), float("nan"))},
    "integers": {"linear.lora_A.weight": torch.ones(2, 32, dtype=torch.int32)},
    "eight bits": {"linear.lora_A.weight": torch.ones(2, 32).to(torch.float8_e4m3fn)},
    "unknown": {"linear.lora_magnitude_vector": torch.ones(5)},
    "one factor": {"body.1.lora_A.weight": torch.ones(2, 3)},
    "escape sequence": {"\x1b[2J.lora_A.weight": torch.ones(2, 3), "\x1b[2J.lora_B.weight": torch.ones(3, 2)},
    "other shape": {"linear.lora_A.weight": torch.ones(2, 32, 1, 1)},
    "scalar": {"linear.lora_A.weight": torch.tensor(1.0)},
    "empty": {"linear.lora_A.weight": torch.ones(0, 32), "linear.lora_B.weight": torch.ones(5, 0)},
    "no such kind of layer": {"body.1.lora_A.weight": torch.ones(2, 3), "body.1.lora_B.weight": torch.ones(3, 2)},
}


@pytest.mark.parametrize("name", [*FILES, *TENSORS])
def test_broken_folders_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    trained_in_peft(tmp_path, target_modules=TARGETS)
    if name in FILES:
        FILES[name](tmp_path)
    else:
        altered = {f"base_model.model.{key}": tensor for key, tensor in TENSORS[name].items()}
        save_file({**load_file(tmp_path / WEIGHTS), **altered}, tmp_path / WEIGHTS)
    with pytest.raises(AdapterError) as raised:
        read_peft(tmp_path, network(), card(network()))
    assert str(raised.value).isprintable()
