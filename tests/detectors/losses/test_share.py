"""Several processes share a batch: losses and gradients are those of one process with all of its pictures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch import distributed as dist

from tests.detectors.build import NAMES, make, pictures
from vision_lora.adapters.adapter import Adapter
from vision_lora.detectors.base import Detector
from vision_lora.detectors.losses.share import counting, share
from vision_lora.detectors.new_adapter import new_adapter
from vision_lora.detectors.rtdetr import RtdetrDetector

Losses = dict[str, float]
FAMILIES = (
    "yolov8n.yaml",
    "yolov10n.yaml",
    "yolo26n.yaml",
    "rtdetr",
    "hf:detr",
    "hf:conditional_detr",
    "hf:rt_detr",
    "hf:lw_detr",
    "torchvision:faster_rcnn",
    "torchvision:retinanet",
    "torchvision:fcos",
    "torchvision:ssdlite",
)


class Processes:
    """Stands in for the processes of a run, one after the other: each says its counts, then all hear the sums.

    What a process counts does not depend on what others count, so a first round is enough to know the sums.
    """

    def __init__(self, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = count
        self.told: list[list[Tensor]] = []
        self.sums: list[Tensor] | None = None
        self.several = False
        monkeypatch.setattr(dist, "is_initialized", lambda: self.several)
        monkeypatch.setattr(dist, "get_world_size", lambda: self.count)
        monkeypatch.setattr(dist, "all_reduce", self._all_reduce)

    def mean(self, parts: list[Callable[[], Losses]]) -> list[Losses]:
        """What each process's call gives; gradients are added up."""
        self.several = True
        self.sums = None
        self.told = [self._counts(part) for part in parts]
        assert len({len(told) for told in self.told}) == 1, "all processes have to ask for the same sums"
        given = []
        for part in parts:
            self.sums = [torch.stack(values).sum(0) for values in zip(*self.told, strict=True)]
            given.append(part())
        self.several = False
        return given

    def _counts(self, part: Callable[[], Losses]) -> list[Tensor]:
        self._own: list[Tensor] = []
        with torch.no_grad():
            part()
        return self._own

    def _all_reduce(self, value: Tensor, **_: object) -> None:
        if self.sums is None:
            self._own.append(value.clone())
        else:
            value.copy_(self.sums.pop(0))


def drawing_nothing(name: str) -> tuple[Detector, Adapter]:
    """A detector with an adapter, and no random numbers in its training: dropout, noise and samples."""
    detector = make(name)
    torch.manual_seed(0)
    adapter = new_adapter(detector, NAMES, rank=2, imgsz=128)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    detector.attach(adapter)
    if isinstance(detector, RtdetrDetector):
        detector.head.label_noise_ratio = detector.head.box_noise_scale = 0
    for config in getattr(detector, "_configs", ()):
        config.label_noise_ratio = config.box_noise_scale = 0.0
    for layer in detector.network.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
        for option in ("dropout", "activation_dropout", "attention_dropout"):
            if isinstance(getattr(layer, option, None), float):
                setattr(layer, option, 0.0)
        if hasattr(layer, "fg_bg_sampler"):
            layer.fg_bg_sampler._call.batch_size_per_image = 10**6  # takes all there are
    return detector, adapter


def gradients(adapter: Adapter) -> dict[str, Tensor]:
    """Taken off the adapter, by name."""
    found = {name: p.grad for name, p in adapter.named_parameters() if p.grad is not None}
    adapter.zero_grad(set_to_none=True)
    return found


def same(halves: dict[str, Tensor], whole: dict[str, Tensor]) -> bool:
    """Whether the mean of two processes' gradients is the whole batch's, by the largest number of each tensor."""
    return all(
        torch.allclose(half / 2, whole[name], rtol=1e-4, atol=max(1e-6, 1e-4 * float(whole[name].abs().max())))
        for name, half in halves.items()
    )


def learn(detector: Detector, images: Tensor, targets: Tensor) -> Losses:
    losses = detector.losses(images, targets)
    if torch.is_grad_enabled():
        torch.stack(list(losses.values())).sum().backward()
    return {name: loss.item() for name, loss in losses.items()}


def of(mine: list[int], images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Some of the pictures, with their boxes."""
    place = {picture: index for index, picture in enumerate(mine)}
    rows = [[place[int(row[0])], *row[1:].tolist()] for row in targets if int(row[0]) in place]
    return images[mine], torch.tensor(rows).reshape(-1, 6)


# With two threads PyTorch's own backward of a strided 1 x 1 convolution writes where it must not, for five pictures.
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", FAMILIES)
def test_two_uneven_parts_are_one_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pictures here and two there, of which one has no box."""
    processes = Processes(2, monkeypatch)
    detector, adapter = drawing_nothing(name)
    images, targets = pictures(5)
    targets = targets[targets[:, 0] != 1]
    whole = learn(detector, images, targets)
    expected = gradients(adapter)
    given = processes.mean(
        [lambda mine=mine: learn(detector, *of(mine, images, targets)) for mine in ([0, 2, 4], [1, 3])]  # type: ignore[misc]
    )
    for loss, value in whole.items():
        assert (given[0][loss] + given[1][loss]) / 2 == pytest.approx(value, abs=1e-4, rel=1e-4)
    assert same(gradients(adapter), expected)


@pytest.mark.parametrize("name", ["yolo11n.yaml", "rtdetr", "torchvision:ssdlite"])
def test_a_process_without_any_box_counts_its_background_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = Processes(2, monkeypatch)
    detector, _ = drawing_nothing(name)
    images, targets = pictures(3)
    targets = targets[targets[:, 0] == 0]
    with torch.no_grad():
        whole = learn(detector, images, targets)
        given = processes.mean(
            [lambda mine=mine: learn(detector, *of(mine, images, targets)) for mine in ([0], [1, 2])]  # type: ignore[misc]
        )
    for loss, value in whole.items():
        assert (given[0][loss] + given[1][loss]) / 2 == pytest.approx(value, abs=1e-4, rel=1e-4)


@pytest.mark.parametrize("name", ["yolo11n.yaml", "hf:detr", "hf:lw_detr", "torchvision:retinanet"])
def test_a_process_that_only_keeps_step_adds_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last batch has one picture for two processes."""
    processes = Processes(2, monkeypatch)
    detector, adapter = drawing_nothing(name)
    images, targets = pictures(2)

    def absent() -> Losses:
        with counting(present=False):
            return learn(detector, *of([1], images, targets))

    one = of([0], images, targets)
    whole = learn(detector, *one)
    expected = gradients(adapter)
    given = processes.mean([lambda: learn(detector, *one), absent])
    for loss, value in whole.items():
        assert given[1][loss] == 0
        assert given[0][loss] / 2 == pytest.approx(value, abs=1e-4, rel=1e-4)
    assert same(gradients(adapter), expected)


def test_a_joint_pass_stays_the_same_over_all_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Self-distillation too: variances and objects of the whole batch."""
    processes = Processes(3, monkeypatch)
    detector = make("yolo11n.yaml")
    torch.manual_seed(0)
    adapter = new_adapter(detector, NAMES, rank=2, imgsz=128, joint=True)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    detector.attach(adapter)
    images, targets = pictures(4)

    @torch.no_grad()
    def distances(mine: list[int]) -> Losses:
        some, boxes = of(mine, images, targets)
        losses, apart = detector.retaining_losses(detector.prepare(some), boxes, None)
        return {name: loss.item() for name, loss in {**losses, **apart}.items()}

    whole = distances([0, 1, 2, 3])
    given = processes.mean([lambda mine=mine: distances(mine) for mine in ([0, 1], [2], [3])])  # type: ignore[misc]
    assert {"classes", "boxes", "features", "box"} <= whole.keys()
    for loss, value in whole.items():
        assert sum(part[loss] for part in given) / 3 == pytest.approx(value, abs=1e-4, rel=1e-4)


def test_alone_nothing_changes() -> None:
    for count in (0, 1, 7):
        assert share(count, torch.zeros(1)) == 1
