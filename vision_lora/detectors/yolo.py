"""YOLO detectors on Ultralytics' own modules: network, loss and non-maximum suppression are theirs."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

import torch
import torchvision  # noqa: F401 - Ultralytics takes torchvision's NMS only where it is imported, and else a Python loop
import ultralytics
import yaml
from torch import Tensor, nn
from ultralytics.nn.modules import Conv, ConvTranspose, Detect, RepConv, v10Detect
from ultralytics.nn.modules.block import RepVGGDW
from ultralytics.nn.modules.conv import Conv2
from ultralytics.nn.tasks import DetectionModel, yaml_model_load
from ultralytics.utils import DEFAULT_CFG_DICT, IterableSimpleNamespace
from ultralytics.utils.loss import E2ELoss
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.torch_utils import fuse_deconv_and_bn

from vision_lora.detectors import weights
from vision_lora.detectors.base import PLACEMENTS, Detector, Found, Readout
from vision_lora.detectors.fold import fold_batchnorm
from vision_lora.errors import CheckpointError

BRANCHES = ("cv3", "one2one_cv3")  # classifying branches of the head; the second in NMS-free networks


# Boxes of a picture that enter non-maximum suppression, best first. Its time grows with their square, and an untrained
# head scores every cell above the threshold of an mAP measurement; 300 are kept in the end.
CANDIDATES = 4096


class YoloDetector(Detector):
    """YOLOv8 to YOLO26, and any other network of Ultralytics' `Detect` head.

    Args:
        network: detection network with a plain `Detect` head.
        base: file name of its checkpoint.
    """

    family = "ultralytics-yolo"

    def __init__(self, network: DetectionModel, base: str) -> None:
        self._net = cast(Any, network)  # Ultralytics' classes carry no types
        self.head: Any = self._net.model[-1]
        self._criterion: Any = None
        self._criterion_classes = 0
        self._epoch, self._epochs = 0, 1
        super().__init__(network, [self._net.names[index] for index in range(self.head.nc)], base)

    @classmethod
    def load(cls, name: str, *, fold: bool = True) -> YoloDetector:
        """Load a checkpoint by path or official name, or an architecture (`yolo11n.yaml`) with random weights.

        Args:
            name: path, official name, or name of an architecture file.
            fold: fold each BatchNorm into its convolution; False keeps them, to train the whole network.

        Raises:
            CheckpointError: missing, broken or unsafe file, or no detection network.
        """
        network: Any
        if name.endswith((".yaml", ".yml")):
            network, base = _from_architecture(name), Path(name).name
        else:
            path = weights.find_checkpoint(name)
            network, base = weights.load_network(path), path.name
        head: Any = cast(Any, network).model[-1] if isinstance(network, DetectionModel) else network
        if not isinstance(network, DetectionModel) or type(head) not in (Detect, v10Detect):
            raise CheckpointError(
                f"{name}: a {type(network).__name__} with a {type(head).__name__} head, not a supported detector; "
                "expected a detection checkpoint of YOLOv8, YOLOv9, YOLOv10, YOLO11, YOLO12 or YOLO26"
            )
        if fold:
            fold_network(network)
        return cls(network.eval(), base)

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

    def stage(self, layer: str) -> str:
        parts = layer.split(".")
        index = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0
        if index == len(self._net.model) - 1:
            return "head"
        # An architecture file lists the backbone's layers first.
        return "backbone" if index < len(self._net.yaml["backbone"]) else "neck"

    def initialise_rows(self, weight: Tensor, bias: Tensor, layer: str) -> None:
        level = int(layer.split(".")[-2])
        _prior(weight, bias, float(self.head.stride[level]))

    def classes_changed(self, count: int) -> None:
        self.head.nc = count
        self.head.no = count + self.head.reg_max * 4

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        self._epoch, self._epochs = epoch, epochs

    def criterion(self) -> Any:
        """Ultralytics' loss for the classes of the active pass, at the present point of its schedule."""
        if self._criterion is None or self._criterion_classes != self.head.nc:
            # The loss reads its gains and the length of its schedule from the network.
            self._net.args = IterableSimpleNamespace(**{**DEFAULT_CFG_DICT, "epochs": self._epochs})
            self._criterion = self._net.init_criterion()
            self._criterion_classes = self.head.nc
        if isinstance(self._criterion, E2ELoss):
            # NMS-free heads move from the one-to-many to the one-to-one branch over the epochs.
            self._criterion.updates = self._epoch - 1
            self._criterion.update()
        return self._criterion

    def training_losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        self.network.train()
        for layer in self.network.modules():
            if isinstance(layer, nn.BatchNorm2d) and not layer.weight.requires_grad:
                layer.eval()  # frozen: its statistics stay too
        outputs = _full_precision(self.network(images))
        side = images.shape[-1]
        corners = targets[:, 2:] / side
        batch = {
            "batch_idx": targets[:, 0],
            "cls": targets[:, 1],
            "bboxes": torch.cat(((corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]), 1),
        }
        # Task-aligned assignment compares sixth powers of overlaps: never in half precision.
        with torch.autocast(images.device.type, enabled=False):
            losses, items = self.criterion()(outputs, batch)
        # Ultralytics multiplies by the batch size; means keep the learning rate independent of it.
        return dict(zip((name.removesuffix("_loss") for name in items), losses / len(images), strict=True))

    def read(self, images: Tensor, readout: Readout) -> list[Found]:
        outputs = self.network(images)[0]
        found = non_max_suppression(
            outputs.float(),
            readout.confidence,
            readout.iou,
            multi_label=readout.multi_label,
            max_det=readout.limit,
            max_nms=CANDIDATES,
            nc=self.head.nc,
            end2end=self.head.end2end,
        )
        return [Found(rows[:, :4], rows[:, 4], rows[:, 5].long()) for rows in found]

    def replace_classes(self, names: Sequence[str]) -> None:
        """Give the network itself other classes, untrained: what full fine-tuning does. The old rows are lost."""
        for layer in self.class_layers():
            parent, _, index = layer.rpartition(".")
            old = self.network.get_submodule(layer)
            assert isinstance(old, nn.Conv2d)
            new = nn.Conv2d(old.in_channels, len(names), 1).to(old.weight.device)
            assert new.bias is not None
            with torch.no_grad():
                self.initialise_rows(new.weight.flatten(1), new.bias, layer)
            self._net.get_submodule(parent)[int(index)] = new
        self.names = tuple(names)
        self._net.names = dict(enumerate(names))
        self.classes_changed(len(names))

    def unfreeze(self, stages: Collection[str] = PLACEMENTS["all"]) -> None:
        """Make the weights of these stages trainable; layers of the others keep weights and statistics."""
        fixed = self.fixed_layers()
        for name, layer in self.network.named_modules():
            frozen = name in fixed or self.stage(name) not in stages
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad_(not frozen)

    def save_checkpoint(self, path: Path) -> None:
        """Write the network as a checkpoint that `ultralytics.YOLO` and `load` open."""
        network = copy.deepcopy(self._net).eval()
        network.names = dict(enumerate(self.names))
        network.yaml["nc"] = len(self.names)
        network.args = dict(DEFAULT_CFG_DICT, task="detect", model=self.base)
        checkpoint = {
            "model": network,
            "train_args": network.args,
            "date": datetime.now(timezone.utc).isoformat(),
            "version": ultralytics.__version__,
        }
        partial = path.with_suffix(".partial")
        torch.save(checkpoint, partial)
        partial.replace(path)

    @property
    def _head_name(self) -> str:
        return f"model.{len(self._net.model) - 1}"


def fold_network(network: nn.Module) -> None:
    """Fold every BatchNorm and re-parametrised branch of an Ultralytics network, in place.

    Unlike Ultralytics' `fuse`, NMS-free heads keep both branches: training needs the two.
    """
    for module in list(network.modules()):
        if isinstance(module, (RepConv, RepVGGDW)):
            module.fuse_convs() if isinstance(module, RepConv) else module.fuse()
            module.forward = module.forward_fuse  # type: ignore[method-assign]
        elif isinstance(module, ConvTranspose) and hasattr(module, "bn"):
            module.conv_transpose = fuse_deconv_and_bn(module.conv_transpose, module.bn)
            del module.bn
            module.forward = module.forward_fuse  # type: ignore[method-assign]
    for module in network.modules():
        if isinstance(module, Conv) and hasattr(module, "bn"):
            if isinstance(module, Conv2):
                module.fuse_convs()
            fold_batchnorm(module.conv, module.bn)
            del module.bn
            module.forward = module.forward_fuse  # type: ignore[method-assign]


def _from_architecture(name: str) -> DetectionModel:
    try:
        layers = yaml_model_load(name)
    except (FileNotFoundError, yaml.YAMLError) as error:
        raise CheckpointError(
            f"{name}: no such architecture; expected a path, or a name such as yolo11n.yaml"
        ) from error
    if not isinstance(layers, dict) or not {"backbone", "head", "nc"} <= layers.keys():
        raise CheckpointError(f"{name}: no architecture of a detector; expected `nc`, `backbone` and `head` in it")
    return DetectionModel(layers, verbose=False).eval()


def _prior(weight: Tensor, bias: Tensor, stride: float) -> None:
    """Small weights, and a bias that expects few objects at the start (Lin et al. 2017, RetinaNet, section 4.1).

    Args:
        weight: (classes, columns), filled in place.
        bias: (classes,), filled in place: 5 objects a 640 px picture over all classes, as in Ultralytics.
        stride: pixels between two cells of the level.
    """
    nn.init.normal_(weight, std=0.01)
    bias.fill_(math.log(5 / len(bias) / (640 / stride) ** 2))


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
