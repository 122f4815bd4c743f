"""What every family of detectors promises, on small random networks and on the real checkpoints.

Each detector is trained once, for some steps; the tests look at what that has left.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.detectors.build import MAKERS, NAMES, make, pictures
from vision_lora.adapters.adapter import Adapter, fingerprint
from vision_lora.adapters.file import load_adapter, save_adapter
from vision_lora.adapters.layers import Adapted
from vision_lora.adapters.weights.deltas import NewRows
from vision_lora.detectors.base import Detector
from vision_lora.detectors.load import load_base
from vision_lora.detectors.new_adapter import new_adapter, plan_adapter
from vision_lora.detectors.readout import MEASURE
from vision_lora.pictures.detections import Detections

CHECKPOINTS = ("yolov8n.pt", "yolo11n.pt", "yolo26n.pt")


@dataclass
class Trained:
    """A detector before and after training.

    Attributes:
        key: of the network it is made of.
        detector: with its trained adapter, active.
        start: a copy of the adapter's numbers before training.
        losses: of each step.
        unseen: learned tensors that had no gradient in the first two steps.
    """

    key: str
    shared: Path | None
    detector: Detector
    start: dict[str, Tensor]
    losses: list[float]
    unseen: set[str]

    def fresh(self) -> Detector:
        """The same base, never adapted."""
        return make(self.key) if self.shared is None else load_base(str(self.shared / "weights" / self.key))

    @property
    def adapter(self) -> Adapter:
        assert self.detector.adapter is not None
        return self.detector.adapter


@pytest.fixture(scope="module", params=[*MAKERS, *CHECKPOINTS])
def trained(request: pytest.FixtureRequest) -> Trained:
    shared = request.getfixturevalue("shared") if request.param in CHECKPOINTS else None
    detector = Trained(request.param, shared, None, {}, [], set()).fresh()  # type: ignore[arg-type]
    torch.manual_seed(0)
    adapter = new_adapter(detector, NAMES, rank=4, imgsz=128)
    detector.attach(adapter)
    start = {name: tensor.clone() for name, tensor in adapter.state_dict().items()}
    learned = {name: tensor for name, tensor in adapter.named_parameters() if tensor.requires_grad}
    optimizer = torch.optim.AdamW(learned.values(), lr=1e-3)
    losses, seen = [], set()
    for step in range(20 if request.param.startswith("hf:") else 10):  # matching is restless at first
        optimizer.zero_grad()
        torch.manual_seed(1)  # the same denoising and sampling each time
        loss = torch.stack(list(detector.losses(*pictures()).values())).sum()
        loss.backward()
        if step < 2:
            seen |= {name for name, tensor in learned.items() if tensor.grad is not None and tensor.grad.any()}
        optimizer.step()
        losses.append(loss.item())
    return Trained(request.param, shared, detector, start, losses, learned.keys() - seen)


def found(detector: Detector, mode: str = "both") -> list[Detections]:
    return detector.detect(pictures(3)[0], mode=mode, readout=MEASURE)  # type: ignore[arg-type]


def equal(one: list[Detections], other: list[Detections]) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(getattr(a, part), getattr(b, part))
        for a, b in zip(one, other, strict=True)
        for part in ("boxes", "scores", "classes")
    )


def test_attaching_changes_no_output(trained: Trained) -> None:
    """All of the adapter but its class rows, as it was before training."""
    detector = trained.fresh()
    base = found(detector)
    adapter = new_adapter(detector, NAMES, rank=4)
    deltas = {site: delta for site, delta in adapter.deltas.items() if not isinstance(delta, NewRows)}
    detector.adapters.attach(Adapter(deltas, adapter.card))
    assert sum(isinstance(layer, Adapted) for layer in detector.network.modules()) > 5
    with torch.no_grad():
        adapted = detector.read(detector.prepare(pictures(3)[0]), MEASURE)
    assert any(len(one) for one in base)
    for one, other in zip(adapted, base, strict=True):
        assert np.array_equal(one.scores.numpy(), other.scores)
        assert np.array_equal(one.boxes.numpy(), other.boxes)


def test_training_leaves_the_base_as_it_was(trained: Trained) -> None:
    detector, fresh = trained.detector, trained.fresh()
    assert fingerprint(detector.network.state_dict()) == detector.fingerprint == fresh.fingerprint
    assert all(parameter.grad is None for parameter in detector.network.parameters())
    assert equal(found(detector, "general"), found(fresh))


def test_training_changes_every_part_of_the_adapter(trained: Trained) -> None:
    assert not trained.unseen
    now = trained.adapter.state_dict()
    assert all(not torch.equal(now[name], tensor) for name, tensor in trained.start.items())


def test_the_loss_falls(trained: Trained) -> None:
    """The mean of the last steps: matching makes single ones jump."""
    assert np.isfinite(trained.losses).all()
    assert np.mean(trained.losses[-3:]) < np.mean(trained.losses[:3])


def test_exact_mode_gives_the_base_s_detections_to_the_bit(trained: Trained) -> None:
    detector, base = trained.detector, found(trained.fresh())
    for _ in range(2):  # the first call finds out what both passes share
        both = found(detector)
        assert equal([one.of("general") for one in both], base)
        assert equal([one.of("defects") for one in both], found(detector, "defects"))


def test_old_class_rows_stay(trained: Trained) -> None:
    detector, fresh = trained.detector, trained.fresh()
    before, after = fresh.network.state_dict(), detector.network.state_dict()
    assert set(trained.adapter.class_rows) == set(detector.class_layers())
    for layer in detector.class_layers():
        assert len(after[f"{layer}.weight"]) == len(detector.names)
        assert torch.equal(before[f"{layer}.weight"], after[f"{layer}.weight"])
    assert detector.names == fresh.names


def test_merged_detector_is_plain_and_finds_the_same(trained: Trained) -> None:
    detector, before = trained.detector, found(trained.detector, "defects")
    detector.merge()
    try:
        assert not any(isinstance(layer, Adapted) for layer in detector.network.modules())
        assert detector.names == NAMES
        for merged, attached in zip(found(detector), before, strict=True):
            assert len(merged) == len(attached)
            assert np.abs(merged.boxes - attached.boxes).max(initial=0) <= 1e-4 * 128
            assert np.abs(merged.scores - attached.scores).max(initial=0) <= 1e-4
    finally:
        detector.unmerge()
    assert fingerprint(detector.network.state_dict()) == detector.fingerprint
    assert equal(found(detector, "defects"), before)


def test_a_file_gives_the_same_detections(trained: Trained, tmp_path: Path) -> None:
    save_adapter(trained.adapter, tmp_path / "adapter.safetensors")
    again = trained.fresh()
    again.attach(load_adapter(tmp_path / "adapter.safetensors"))
    assert equal(found(again), found(trained.detector))


def test_boxes_are_in_pixels_of_the_square(trained: Trained) -> None:
    for one in found(trained.detector, "defects"):
        assert len(one)
        assert (one.boxes[:, 2:] >= one.boxes[:, :2]).all()
        assert np.ptp(one.boxes) > 32
        assert (np.diff(one.scores) <= 0).all()
        assert ((one.scores > 0) & (one.scores <= 1)).all()


def test_placements_are_nested(trained: Trained) -> None:
    fresh = trained.fresh()
    sites = {
        place: {entry.site for entry in plan_adapter(fresh, 2, placement=place).adapted}  # type: ignore[arg-type]
        for place in ("all", "deep", "neck", "head")
    }
    assert sites["head"] <= sites["neck"] < sites["deep"] <= sites["all"]
    assert set(fresh.class_layers()) <= sites["head"]
