"""A quiet start: training begins where new pictures differ from everyday ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.detectors.build import MAKERS, NAMES, make, pictures
from tests.runs import options
from vision_lora.adapters.adapter import Adapter
from vision_lora.adapters.file import load_adapter
from vision_lora.adapters.weights.deltas import LowRank
from vision_lora.datasets.batches.batch import Batch
from vision_lora.datasets.batches.loader import eval_loader
from vision_lora.datasets.leaves import leaves
from vision_lora.datasets.open import open_dataset
from vision_lora.detectors.new_adapter import new_adapter
from vision_lora.detectors.yolo import YoloDetector
from vision_lora.train import main as train
from vision_lora.training.start import start_quietly

SITE = "model.4.cv1.conv"  # a 1x1 convolution: its columns are its channels


def test_the_adapter_hears_steel_more_than_anything_else(shared: Path, few: Path) -> None:
    steel = eval_loader(open_dataset(few).splits["train"][:16], 128, 8)
    others = eval_loader(leaves(16, 128, seed=0), 128, 8)
    detector = YoloDetector.load(str(shared / "weights" / "yolo11n.pt"))
    torch.manual_seed(0)
    adapter = new_adapter(detector, ["scratch"])
    detector.attach(adapter)
    before = _heard(detector, adapter, steel) / _heard(detector, adapter, others)
    start_quietly(detector, adapter, others, steel)
    after = _heard(detector, adapter, steel) / _heard(detector, adapter, others)
    assert after > 3 * before


def test_a_run_starts_as_it_was_told(shared: Path, few: Path, tmp_path: Path) -> None:
    """A frozen factor stays as it was set, so that the files show it; the same seed sets it alike."""
    downs = []
    for index, start in enumerate(("quiet", "quiet", "random")):
        out = tmp_path / str(index)
        assert train(options(shared, few, out, epochs=1, variant="lora-fa", start=start)) == 0
        downs.append(load_adapter(out / "last.safetensors").deltas[SITE].get_parameter("down"))
    assert torch.equal(downs[0], downs[1])
    assert not torch.equal(downs[0], downs[2])


@pytest.mark.parametrize("key", MAKERS)
def test_every_family_starts_quietly(key: str) -> None:
    """Whatever its layers are given, lists of pictures, tokens or proposals: A changes, and is as long as it was."""
    detector = make(key)
    adapter = new_adapter(detector, NAMES, rank=2, imgsz=128)
    detector.attach(adapter)
    factors = {site: delta.down for site, delta in adapter.deltas.items() if isinstance(delta, LowRank)}
    before = {site: down.detach().clone() for site, down in factors.items()}
    images, _ = pictures(2)
    batch = Batch(images, torch.zeros(0, 6), torch.ones(2), torch.zeros(2, 2), torch.arange(2))
    start_quietly(detector, adapter, [replace(batch, images=images.flip(1))], [batch])
    changed = [site for site, down in factors.items() if not torch.equal(down, before[site])]
    assert len(changed) > len(factors) / 2
    for site, down in factors.items():
        assert down.norm(dim=1).mean().item() == pytest.approx(before[site].norm(dim=1).mean().item(), rel=1e-3)
    assert torch.stack(list(detector.losses(*pictures(2)).values())).sum().isfinite()


def _heard(detector: YoloDetector, adapter: Adapter, batches: Iterable[Batch]) -> float:
    """Mean square of what A makes of a layer's input in the base pass."""
    values = []

    def listen(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        values.append((adapter.deltas[SITE].get_parameter("down") @ args[0].flatten(2)).square().mean().item())

    handle = detector.network.get_submodule(SITE).register_forward_pre_hook(listen)
    for batch in batches:
        detector.detect(batch.images, mode="general")
    handle.remove()
    return sum(values) / len(values)
