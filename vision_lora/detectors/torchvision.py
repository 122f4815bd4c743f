"""Detectors of torchvision: Faster R-CNN, RetinaNet, FCOS, SSD and SSDlite; networks and losses are theirs.

They are given letterboxed squares as they are: torchvision would resize them once more. Class names follow its habit
that class 0 is background.
"""

from __future__ import annotations

import copy
import math
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, cast

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import detection, get_model, get_model_weights
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FrozenBatchNorm2d, nms

from vision_lora.detectors.base import Detector, Model
from vision_lora.detectors.checkpoints import weights
from vision_lora.detectors.losses.share import share
from vision_lora.detectors.network.fold import fold_followed
from vision_lora.detectors.network.heads import AnchorClassifier, BoxPredictor
from vision_lora.detectors.network.precision import full_precision
from vision_lora.detectors.readout import Found, Readout
from vision_lora.errors import CheckpointError, ConfigError, MissingCheckpointError
from vision_lora.system.outputs import write_torch

if TYPE_CHECKING:
    from typing_extensions import Self

PREFIX = "torchvision:"
KINDS = (detection.FasterRCNN, detection.RetinaNet, detection.FCOS, SSD)
SIZE = 320  # side of the picture that a network is tried with at load, pixels
# Official weights of these were made when torchvision's frozen BatchNorm left the epsilon out.
OLD = ("fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn")
RPN = ("loss_objectness", "loss_rpn_box_reg")  # what Faster R-CNN's first stage makes small
SAME = 0.9  # overlap above which two boxes of different classes are the same box: one place, scored for each class


class TorchvisionDetector(Detector):
    """A detector of torchvision, on anchors or points.

    Faster R-CNN learns from a random sample of its anchors and proposals: several processes draw other ones than one
    does, for losses of the same mean.

    Args:
        network: one of `KINDS`, for background and the classes of `names`.
        names: its classes, without background.
        base: name of its builder, or of the file of its weights.
        fold: fold BatchNorm where there is any.
    """

    family = "torchvision"
    supported = (
        "torchvision:NAME or torchvision:NAME:/path/weights.pth for Faster R-CNN, RetinaNet, FCOS, SSD or SSDlite of "
        "torchvision (torchvision:fasterrcnn_resnet50_fpn_v2)"
    )

    def __init__(
        self, network: nn.Module, names: tuple[str, ...], base: str, *, builder: str = "", fold: bool = True
    ) -> None:
        self._net = cast(Any, network.eval())
        self._builder = builder
        _take_apart(self._net)
        self._shares = _shares(self._net)
        self._net.transform = _Feeding(self._net.transform)
        # Under autocast anchors would take the features' half precision, and keep it for the passes to come.
        for layer in (self._net.backbone, *_heads(self._net)):
            layer.register_forward_hook(_in_full_precision)
        noise = torch.rand((1, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0))
        self.norms = fold_followed(network, lambda: self._net(noise)) if fold else {}
        super().__init__(network, names, base)

    @classmethod
    def claims(cls, name: str) -> bool:
        """Whether a name is one of this family, by its prefix."""
        return name.startswith(PREFIX)

    @classmethod
    def official(cls, name: str) -> bool:
        """Whether a name means official weights."""
        return cls.claims(name) and name.removeprefix(PREFIX) in builders()

    @classmethod
    def has(cls, name: str) -> bool:
        """Whether a name means official weights that have been downloaded already."""
        if not cls.official(name):
            return False
        url: str = get_model_weights(name.removeprefix(PREFIX)).DEFAULT.url
        return (Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name).is_file()

    @classmethod
    def load(cls, name: str, *, fold: bool = True) -> Self:
        builder, _, file = name.removeprefix(PREFIX).partition(":")
        if builder not in builders():
            raise CheckpointError(f"{name}: torchvision has no such detector; expected one of {', '.join(builders())}")
        if file:
            if not Path(file).is_file():
                raise CheckpointError(f"{name}: no such file; expected weights of torchvision's {builder}")
            return cls.of(weights.read_checkpoint(Path(file)), Path(file), builder, fold=fold)
        official = get_model_weights(builder).DEFAULT
        try:
            state = official.get_state_dict(check_hash=True, weights_only=True)
        except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
            raise MissingCheckpointError(
                f"{name}: the download failed ({' '.join(str(error).split())})",
                f"without internet, copy {Path(official.url).name} to this machine and give its path: --model "
                f"{PREFIX}{builder}:/path/to/file",
            ) from error
        return cls._of(builder, state, official.meta["categories"], f"{PREFIX}{builder}", fold=fold)

    @classmethod
    def wrote(cls, checkpoint: dict[str, Any]) -> bool:
        """Whether a checkpoint is one of `save_checkpoint`, which says of what builder it is."""
        return checkpoint.get("builder") in builders() and {"names", "model"} <= checkpoint.keys()

    @classmethod
    def of(cls, checkpoint: dict[str, Any], path: Path, builder: str = "", *, fold: bool = True) -> Self:
        """A detector of a checkpoint: weights of a builder as torchvision has them, or one that `wrote` knows.

        Raises:
            CheckpointError: these are not the weights of this builder.
        """
        names = None
        if cls.wrote(checkpoint):
            builder, names, checkpoint = builder or checkpoint["builder"], checkpoint["names"], checkpoint["model"]
        return cls._of(builder, checkpoint, names and ["background", *names], path.name, fold=fold)

    @classmethod
    def _of(cls, builder: str, state: dict[str, Any], names: list[str] | None, base: str, *, fold: bool) -> Self:
        rows = _classes_in(builder, state)
        if names is None:
            official = list(get_model_weights(builder).DEFAULT.meta["categories"])
            names = official if len(official) == rows else ["background", *(f"class {n}" for n in range(1, rows))]
        if len(names) != rows:
            raise CheckpointError(f"{base}: holds {rows} classes, background among them, and {len(names)} names")
        network = build(builder, rows)
        _freeze_as(state, network, 0.0 if builder in OLD else 1e-5)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(
                f"{base}: not the weights of {builder} ({' '.join(str(error).split())[:200]})"
            ) from error
        return cls(network, tuple(map(str, names[1:])), base, builder=builder, fold=fold)

    @classmethod
    def models(cls) -> Iterator[Model]:
        for builder in builders():
            yield Model(f"{PREFIX}{builder}", "", partial(cls._random, builder))

    @classmethod
    def _random(cls, builder: str) -> Self:
        names = tuple(f"class {index}" for index in range(80))
        return cls(build(builder, len(names) + 1), names, builder, builder=builder)

    def class_layers(self) -> tuple[str, ...]:
        return tuple(
            f"{name}.{part}"
            for name, layer in self.network.named_modules()
            for part in (
                [f"anchors.{index}" for index in range(len(layer.anchors))]
                if isinstance(layer, AnchorClassifier)
                else ["scores.classes", *(f"boxes.{edge}" for edge in range(4))]
                if isinstance(layer, BoxPredictor)
                else []
            )
        )

    def stage(self, layer: str) -> str:
        if not layer.startswith("backbone"):
            return "head"
        return "neck" if layer.startswith(("backbone.fpn", "backbone.extra")) else "backbone"

    def initialise_rows(self, weight: Tensor, bias: Tensor | None, layer: str) -> None:
        assert bias is not None, "torchvision's class layers have a bias"
        own = cast(Any, self.network.get_submodule(layer))
        if ".boxes." in layer:  # where a box of a new class is, is much like where one of the known classes is
            weight.copy_(own.weight.detach().flatten(1).mean(0).expand_as(weight))
            bias.copy_(own.bias.detach().mean().expand_as(bias))
            return
        nn.init.normal_(weight, std=0.01)
        # Scored one by one, none is likely at first (Lin et al. 2017, RetinaNet, section 4.1).
        bias.fill_(-math.log(99) if isinstance(self._net, (detection.RetinaNet, detection.FCOS)) else 0.0)

    def classes_changed(self, count: int) -> None:
        if isinstance(self._net, SSD):
            self._net.head.classification_head.num_columns = count + 1
        elif isinstance(self._net, (detection.RetinaNet, detection.FCOS)):
            self._net.head.classification_head.num_classes = count

    def training_losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        self.train_mode()
        corners = targets[:, 2:]
        targets = targets[(corners[:, 2:] > corners[:, :2]).all(1)]
        labels = [
            {"boxes": targets[mine, 2:], "labels": targets[mine, 1].long() + self._first}
            for mine in (targets[:, 0] == index for index in range(len(images)))
        ]
        losses: dict[str, Tensor] = self._net(images, labels)
        factors = {kind: share(counter.count, images) for kind, counter in self._shares.items()}
        return {
            name.removeprefix("loss_"): loss.float() * factors["rpn" if name in RPN else "all"]
            for name, loss in losses.items()
        }

    def read(self, images: Tensor, readout: Readout) -> list[Found]:
        settings = self._net.roi_heads if isinstance(self._net, detection.FasterRCNN) else self._net
        settings.score_thresh, settings.nms_thresh = readout.confidence, readout.iou
        # Where a box has one class, its others go first: they are not to take the places of other boxes.
        settings.detections_per_img = readout.limit if readout.multi_label else sys.maxsize
        found = []
        for one in self._net(images):
            boxes, scores, classes = one["boxes"], one["scores"], one["labels"] - self._first
            if not readout.multi_label:
                # Boxes of no size overlap with nothing, not even with themselves.
                kept = (boxes[:, 2:] > boxes[:, :2]).all(1).nonzero().flatten()
                kept = kept[nms(boxes[kept], scores[kept], SAME)]
                boxes, scores, classes = boxes[kept], scores[kept], classes[kept]
            order = scores.argsort(descending=True, stable=True)[: readout.limit]
            found.append(Found(boxes[order], scores[order], classes[order]))
        return found

    def save_checkpoint(self, path: Path) -> None:
        """Write weights, builder and names as a file that `load` opens; its `model` is what torchvision's takes.

        Raises:
            ConfigError: the network was folded, or is of no builder of torchvision.
        """
        if self.norms or not self._builder:
            raise ConfigError(
                f"{path}: {self.base} was loaded folded, which torchvision has no layout for; load it with fold=False"
            )
        network = _joined(self._net)
        state = {"model": network.state_dict(), "builder": self._builder, "names": list(self.names)}
        write_torch(path, state)

    @property
    def _first(self) -> int:
        """Label of the first class: behind background where that is scored too."""
        return 0 if isinstance(self._net, (detection.RetinaNet, detection.FCOS)) else 1


class _Counter:
    """A part of a network whose calls tell what the loss is divided by.

    Args:
        call: the part.
        count: gives the number from the arguments and the result of a call.
    """

    def __init__(self, call: Any, count: Callable[[Any, Any], Tensor | int]) -> None:
        self._call = call
        self._count = count
        self.count: Tensor | int = 0

    def __call__(self, *args: Any) -> Any:
        result = self._call(*args)
        self.count = self._count(args, result)
        return result


def _shares(network: Any) -> dict[str, _Counter]:
    """Put counters in a network's losses: of those of Faster R-CNN's first stage, `rpn`, and of `all` others."""

    def sampled(_: Any, result: Any) -> int:
        return sum(int(mask.sum()) for masks in result for mask in masks)

    if isinstance(network, detection.FasterRCNN):
        for stage in (network.rpn, network.roi_heads):
            stage.fg_bg_sampler = _Counter(stage.fg_bg_sampler, sampled)
        return {"rpn": network.rpn.fg_bg_sampler, "all": network.roi_heads.fg_bg_sampler}
    owner = network if isinstance(network, SSD) else network.head
    pictures = isinstance(network, detection.RetinaNet)  # which takes a mean of the pictures' means
    owner.compute_loss = _Counter(
        owner.compute_loss,
        lambda args, _: len(args[0]) if pictures else sum((matched >= 0).sum() for matched in args[3]),
    )
    return {"all": owner.compute_loss}


class _Feeding(nn.Module):
    """torchvision's way in and out without its resizing; takes a batch as one tensor.

    Args:
        transform: torchvision's own, for its mean and standard deviation.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, transform: GeneralizedRCNNTransform) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(transform.image_mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(transform.image_std).view(1, 3, 1, 1))

    def forward(self, images: Tensor, targets: Any = None) -> tuple[ImageList, Any]:
        """(B, 3, S, S) of 0 to 1 to what the network was trained to see; targets pass through."""
        return ImageList((images - self.mean) / self.std, [tuple(images.shape[-2:])] * len(images)), targets

    @staticmethod
    def postprocess(found: list[dict[str, Tensor]], *_: Any) -> list[dict[str, Tensor]]:
        """Detections are in pixels of the square already."""
        return found


def builders() -> tuple[str, ...]:
    """Names of torchvision's detectors that can be loaded."""
    return tuple(
        name for name in torchvision.models.list_models(detection) if not name.startswith(("maskrcnn", "keypointrcnn"))
    )


def build(builder: str, rows: int) -> nn.Module:
    """A network with random weights for so many classes, background among them."""
    frozen = {"weights": None, "weights_backbone": None, "num_classes": rows}
    network: nn.Module = get_model(builder, **frozen)
    return network


def _freeze_as(state: dict[str, Any], network: nn.Module, eps: float) -> None:
    """Make BatchNorm that was frozen when these weights were trained, and so never counted batches, frozen for good."""
    for prefix, parent in list(network.named_modules()):
        for name, child in list(parent.named_children()):
            path = f"{prefix}.{name}".lstrip(".")
            if isinstance(child, nn.BatchNorm2d) and f"{path}.num_batches_tracked" not in state:
                setattr(parent, name, FrozenBatchNorm2d(child.num_features, eps))


def _classes_in(builder: str, state: dict[str, Any]) -> int:
    """For how many classes, background among them, weights are."""
    with torch.device("meta"):
        shapes = [{n: p.shape for n, p in build(builder, rows).named_parameters()} for rows in (2, 3)]
    for name, shape in shapes[0].items():
        more = shapes[1][name][0] - shape[0]  # rows a class
        if more and isinstance(state.get(name), Tensor) and state[name].ndim:
            return int(state[name].shape[0]) // more
    raise CheckpointError(f"these are not the weights of {builder}")


def _heads(network: Any) -> tuple[nn.Module, ...]:
    """Parts of which the outputs go into losses and box arithmetic."""
    if isinstance(network, detection.FasterRCNN):
        return network.rpn.head, network.roi_heads.box_predictor
    return (network.head,)


def _in_full_precision(_: nn.Module, inputs: Any, output: Any) -> Any:  # noqa: ARG001 - a forward hook
    return full_precision(output)


def _take_apart(network: Any) -> None:
    """Give the classes of each class layer a layer of their own."""
    if isinstance(network, detection.FasterRCNN):
        own = network.roi_heads.box_predictor
        network.roi_heads.box_predictor = BoxPredictor(own.cls_score, own.bbox_pred)
    elif isinstance(network, SSD):
        head = network.head.classification_head
        for index, anchors in enumerate(network.anchor_generator.num_anchors_per_location()):
            layer = head.module_list[index]
            if isinstance(layer, nn.Conv2d):
                head.module_list[index] = AnchorClassifier(layer, anchors, background=True)
            else:  # SSDlite: a depthwise convolution first
                layer[-1] = AnchorClassifier(layer[-1], anchors, background=True)
    else:
        head = network.head.classification_head
        anchors = head.cls_logits.out_channels // head.num_classes
        head.cls_logits = AnchorClassifier(head.cls_logits, anchors, background=False)
        head.num_classes -= 1


def _joined(network: Any) -> nn.Module:
    """A copy of the network with its class layers as torchvision has them."""
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, AnchorClassifier):
                setattr(parent, name, child.joined())
            elif isinstance(child, BoxPredictor):
                scores, boxes = child.joined()
                setattr(parent, name, nn.ModuleDict(OrderedDict(cls_score=scores, bbox_pred=boxes)))
    del network.transform
    return cast(nn.Module, network)
