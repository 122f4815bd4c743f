"""Joint adapters: one pass detects the old classes and the new ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vision_lora.adapters.file import load_adapter, save_adapter
from vision_lora.detectors.new_adapter import grow_adapter, new_adapter
from vision_lora.detectors.yolo import YoloDetector
from vision_lora.errors import ClassClashError


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def joint(model: str = "yolo11n.yaml", *, strength: float = 0.02) -> YoloDetector:
    torch.manual_seed(0)
    detector = YoloDetector.load(model)
    assert isinstance(detector, YoloDetector)
    adapter = new_adapter(detector, ["a", "b"], joint=True)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn_like(parameter) * strength)
    detector.attach(adapter)
    return detector


@pytest.mark.parametrize("model", ["yolo11n.yaml", "yolo26n.yaml"])
def test_modes_of_a_joint_adapter(model: str, images: torch.Tensor) -> None:
    detector = joint(model)
    base = YoloDetector.load(model)
    base.network.load_state_dict(detector.network.state_dict())
    both, defects, general = (detector.detect(images, mode=mode) for mode in ("both", "defects", "general"))
    for one, new, old, plain in zip(both, defects, general, base.detect(images), strict=True):
        assert one.names == (*base.names, "a", "b")
        assert {one.source(i) for i in range(len(one))} == {"general", "defects"} or len(one) == 0
        assert np.array_equal(one.of("defects").boxes, new.boxes)
        assert all(new.source(i) == "defects" for i in range(len(new)))
        assert np.array_equal(old.boxes, plain.boxes)  # the base pass stays to the bit
        assert np.array_equal(old.scores, plain.scores)


def test_an_untrained_joint_adapter_leaves_the_old_classes_as_they_are(images: torch.Tensor) -> None:
    torch.manual_seed(0)
    detector = YoloDetector.load("yolo11n.yaml")
    prepared = detector.prepare(images)
    with torch.no_grad():
        before = detector.network(prepared)[1]
        detector.attach(new_adapter(detector, ["a", "b"], joint=True))
        with detector.pass_of("defects") as names:
            after = detector.network(prepared)[1]
    assert len(names) == 82
    assert torch.equal(before["boxes"], after["boxes"])
    assert torch.equal(before["scores"], after["scores"][:, :80])


def test_file_and_merge_keep_both_vocabularies(images: torch.Tensor, tmp_path: Path) -> None:
    detector = joint()
    before = detector.detect(images, mode="both")
    assert detector.adapter is not None
    save_adapter(detector.adapter, tmp_path / "joint.safetensors")
    detector.adapters.detach()
    detector.attach(load_adapter(tmp_path / "joint.safetensors"))
    again = detector.detect(images, mode="both")
    detector.merge()
    merged = detector.detect(images)
    for one, other, plain in zip(before, again, merged, strict=True):
        assert np.array_equal(one.scores, other.scores)
        assert plain.names == one.names
        assert np.allclose(plain.scores[:20], one.scores[:20], atol=1e-4)
    detector.unmerge()
    assert detector.names == detector.names[:80]


def test_growing_keeps_factors_and_rows(caplog: pytest.LogCaptureFixture) -> None:
    detector = joint()
    first = detector.adapter
    assert first is not None
    grown = grow_adapter(detector, first, ["c"], imgsz=320)
    assert (grown.card.names, grown.card.imgsz, grown.joint) == (("a", "b", "c"), 320, True)
    for site, delta in first.deltas.items():
        for name, tensor in delta.named_parameters():
            mine = grown.deltas[site].get_parameter(name)
            assert torch.equal(mine[: len(tensor)], tensor)
            assert mine is not tensor
    with pytest.raises(ClassClashError, match="each name once"):
        grow_adapter(detector, first, ["b"])
    assert not caplog.records
    grow_adapter(detector, first, ["B"])
    assert "class 'B' is a new one beside the adapter's 'b'" in caplog.text
    exact = new_adapter(detector, ["a"])
    assert grow_adapter(detector, exact, ["a", "z"]).card.names == ("a", "z")


@pytest.mark.parametrize("model", ["yolo11n.pt", "yolo26n.pt"])
def test_distances_are_zero_only_where_nothing_changed(model: str, shared: Path, images: torch.Tensor) -> None:
    """An untouched joint adapter is its teacher; a changed one is not, and each distance has a gradient."""
    for strength in (0.0, 0.01):
        detector = joint(str(shared / "weights" / model), strength=strength)
        task, distances = detector.retaining_losses(detector.prepare(images), None, None)
        assert not task
        assert set(distances) == {"classes", "boxes", "features"}
        for name, distance in distances.items():
            if not strength:
                assert distance.item() == pytest.approx(0, abs=1e-5), name
                continue
            assert distance.item() > 1e-4, name
            (gradient,) = torch.autograd.grad(distance, [next(detector.adapter.parameters())], retain_graph=True)  # type: ignore[union-attr]
            assert gradient.abs().sum() > 0, name


def test_the_task_trains_the_new_rows_only(images: torch.Tensor) -> None:
    detector = joint()
    targets = torch.tensor([[0, 1, 10, 10, 60, 60], [1, 0, 30, 30, 90, 90]], dtype=torch.float32)
    task, _ = detector.retaining_losses(detector.prepare(images), targets, None)
    assert set(task) == {"box", "cls", "dfl"}
    alone = joint()
    with alone.pass_of("defects"), torch.no_grad():
        raw = alone.network.train()(alone.prepare(images))
    # With other logits of the old classes the task's loss is the same.
    weights = alone.network.get_submodule(alone.class_layers()[0])
    with torch.no_grad():
        weights.bias[:80] += 1.0  # type: ignore[index,operator]
    other, _ = alone.retaining_losses(alone.prepare(images), targets, None)
    assert raw["scores"].shape[1] == 82
    assert {name: value.item() for name, value in task.items()} == pytest.approx(
        {name: value.item() for name, value in other.items()}
    )
