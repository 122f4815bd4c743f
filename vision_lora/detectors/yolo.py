"""YOLO detectors on Ultralytics' own modules: network and loss are theirs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.modules import Detect, v10Detect
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import DEFAULT_CFG_DICT, IterableSimpleNamespace
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss

from vision_lora.detectors.base import Model
from vision_lora.detectors.losses import yolo_retain
from vision_lora.detectors.losses.share import share
from vision_lora.detectors.losses.yolo_loss import FixedLoss
from vision_lora.detectors.readout import Found, Readout
from vision_lora.detectors.suppression import read_dense
from vision_lora.detectors.ultralytics import UltralyticsDetector, boxes_of

GENERATIONS = {  # sizes of each, as its official checkpoints are called
    "yolov8": "nsmlx",
    "yolov9": "tsmce",
    "yolov10": "nsmblx",
    "yolo11": "nsmlx",
    "yolo12": "nsmlx",
    "yolo26": "nsmlx",
}
BRANCHES = ("cv3", "one2one_cv3")  # classifying branches of the head; the second in NMS-free networks


class YoloDetector(UltralyticsDetector):
    """YOLOv8 to YOLO26, and any other network of Ultralytics' `Detect` head.

    Args:
        network: detection network with a plain `Detect` head.
        base: file name of its checkpoint.
    """

    family = "ultralytics-yolo"
    supported = "a detection checkpoint of YOLOv8, YOLOv9, YOLOv10, YOLO11, YOLO12 or YOLO26, or their architecture"
    heads = (Detect, v10Detect)
    uncapturable = ""

    def __init__(self, network: DetectionModel, base: str) -> None:
        self._criterion: Any = None
        self._criterion_classes = 0
        self._fixed: FixedLoss | None = None
        self._epoch, self._epochs = 0, 1
        super().__init__(network, base)

    @classmethod
    def models(cls) -> Iterator[Model]:
        for generation, sizes in GENERATIONS.items():
            yield Model(
                f"{generation}{sizes[0]}.pt", " ".join(sizes), partial(cls.load, f"{generation}{sizes[0]}.yaml")
            )

    def class_layers(self) -> tuple[str, ...]:
        prefix = self._head_name
        return tuple(
            f"{prefix}.{branch}.{level}.{len(layers) - 1}"
            for branch in BRANCHES
            for level, layers in enumerate(getattr(self.head, branch, None) or ())
        )

    def fixed_layers(self) -> Mapping[str, str]:
        if isinstance(self.head.dfl, nn.Identity):  # no distribution to integrate: YOLO26
            return {}
        return {f"{self._head_name}.dfl.conv": "fixed: integrates the distribution of box edges"}

    def initialise_rows(self, weight: Tensor, bias: Tensor | None, layer: str) -> None:
        assert bias is not None, "Ultralytics' class layers have a bias"
        level = int(layer.split(".")[-2])
        _prior(weight, bias, float(self.head.stride[level]))

    def classes_changed(self, count: int) -> None:
        self.head.nc = count
        self.head.no = count + self.head.reg_max * 4

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        self._epoch, self._epochs = epoch, epochs
        if self._fixed is not None:
            self._fixed.schedule(self.criterion(self._criterion_classes))

    def criterion(self, classes: int) -> Any:
        """Ultralytics' loss for so many classes, at the present point of its schedule."""
        if self._criterion is None or self._criterion_classes != classes:
            # The loss reads its gains and the length of its schedule from the network, and the classes from the head.
            self._net.args = IterableSimpleNamespace(**{**DEFAULT_CFG_DICT, "epochs": self._epochs})
            before = self.head.nc
            self.classes_changed(classes)
            free = getattr(self.head, "one2one_cv2", None) is not None  # of non-maximum suppression
            self._criterion = E2ELoss(self._net, _Loss) if free else _Loss(self._net)
            self.classes_changed(before)
            self._criterion_classes = classes
            self._fixed = None
        if isinstance(self._criterion, E2ELoss):
            # NMS-free heads move from the one-to-many to the one-to-one branch over the epochs.
            self._criterion.updates = self._epoch - 1
            self._criterion.update()
        return self._criterion

    def training_losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return self._task_losses(self._raw(images), targets, images.shape[-1])

    def retaining_losses(
        self, images: Tensor, targets: Tensor | None, teacher: str | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        with torch.no_grad(), self.pass_with(teacher) as known:
            expected = self._raw(images)
        with self.pass_of("defects"):
            raw = self._raw(images)
        # The task trains the new rows alone: a picture of defects does not say which old objects are in it.
        task = {} if targets is None else self._task_losses(_behind(raw, len(known)), targets, images.shape[-1])
        with torch.autocast(images.device.type, enabled=False):
            distances = {
                "classes": yolo_retain.class_distance(raw, expected),
                "boxes": yolo_retain.box_distance(raw, expected),
                "features": yolo_retain.feature_distance(raw, expected),
            }
        return task, distances

    def _raw(self, images: Tensor) -> Any:
        """Raw outputs of the active pass, as the loss takes them."""
        self.train_mode()
        return self.network(images)

    def _task_losses(self, raw: Any, targets: Tensor, side: int) -> dict[str, Tensor]:
        outputs = _full_precision(raw)
        branch = outputs.get("one2many", outputs)
        pictures, classes = branch["scores"].shape[:2]
        # Task-aligned assignment compares sixth powers of overlaps: never in half precision.
        with torch.autocast(targets.device.type, enabled=False):
            if targets.ndim == 3:
                fixed = self._fixed_loss(classes)
                return dict(zip(fixed.names, fixed(outputs, targets), strict=True))
            losses, items = self.criterion(classes)(outputs, boxes_of(targets, side))
        # Ultralytics multiplies by the batch size; means keep the learning rate independent of it.
        return dict(zip((name.removesuffix("_loss") for name in items), losses / pictures, strict=True))

    def _fixed_loss(self, classes: int) -> FixedLoss:
        """The loss of boxes with room, for so many classes."""
        criterion = self.criterion(classes)
        if self._fixed is None:
            self._fixed = FixedLoss(criterion)
            self._fixed.schedule(criterion)
        return self._fixed

    def read(self, images: Tensor, readout: Readout) -> list[Found]:
        before, self.head.max_det = self.head.max_det, readout.limit  # of a head that needs no suppression
        try:
            outputs = self.network(images)[0]
        finally:
            self.head.max_det = before
        if not self.head.end2end:
            return read_dense(outputs[:, : 4 + self.head.nc], readout)
        every = outputs.float().cpu()  # (B, limit, 6), best first
        return [
            Found(rows[:, :4], rows[:, 4], rows[:, 5].long())
            for rows in (picture[picture[:, 4] > readout.confidence] for picture in every)
        ]


class _Loss(v8DetectionLoss):
    """Ultralytics' loss, divided by the scores that are assigned in the pictures of all processes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.assigner.register_forward_hook(self._keep)

    def get_assigned_targets_and_loss(self, *args: Any, **kwargs: Any) -> Any:
        assigned, losses, items = super().get_assigned_targets_and_loss(*args, **kwargs)
        factor = share(self._scores, losses)
        return assigned, losses * factor, {name: item * factor for name, item in items.items()}

    def _keep(self, _: nn.Module, inputs: Any, assigned: Any) -> None:  # noqa: ARG002 - a forward hook
        self._scores = assigned[2].sum()


def _prior(weight: Tensor, bias: Tensor, stride: float) -> None:
    """Small weights, and a bias that expects few objects at the start (Lin et al. 2017, RetinaNet, section 4.1).

    Args:
        weight: (classes, columns), filled in place.
        bias: (classes,), filled in place: 5 objects a 640 px picture over all classes, as in Ultralytics.
        stride: pixels between two cells of the level.
    """
    nn.init.normal_(weight, std=0.01)
    bias.fill_(math.log(5 / len(bias) / (640 / stride) ** 2))


def _behind(raw: Any, first: int) -> Any:
    """Raw outputs with the scores of the classes from `first` on."""
    if "scores" not in raw:
        return {name: _behind(branch, first) for name, branch in raw.items()}
    return {**raw, "scores": raw["scores"][:, first:]}


def _full_precision(outputs: Any) -> Any:
    """Raw head outputs in fp32. Feature maps only lend the loss their shape and dtype, so they are not copied."""
    if isinstance(outputs, dict):
        return {
            key: [feature.new_zeros((), dtype=torch.float32).expand(feature.shape) for feature in value]
            if key == "feats"
            else _full_precision(value)
            for key, value in outputs.items()
        }
    return outputs.float()
