"""What all detectors on Ultralytics' modules share: how they are read, folded, divided into stages and written."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
import ultralytics
from torch import Tensor, nn
from ultralytics.nn.modules import Conv, ConvTranspose, RepConv
from ultralytics.nn.modules.block import RepVGGDW
from ultralytics.nn.modules.conv import Conv2
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import DEFAULT_CFG_DICT
from ultralytics.utils.torch_utils import fuse_deconv_and_bn

from vision_lora.adapters.weights.live import FoldedNorm
from vision_lora.detectors.base import Detector
from vision_lora.detectors.checkpoints import weights
from vision_lora.detectors.network.fold import fold_batchnorm
from vision_lora.errors import CheckpointError
from vision_lora.system.outputs import write_torch

if TYPE_CHECKING:
    from typing_extensions import Self


TRIED = 128  # side of the picture that a network is tried with at load, pixels; has cells for RT-DETR's 300 queries


class UltralyticsDetector(Detector):
    """A detection network of Ultralytics: layers in a row, of which the last is the head.

    Args:
        network: detection network with one of the family's heads.
        base: file name of its checkpoint.

    Attributes:
        heads: classes of the heads that the family knows, exactly these.
    """

    heads: ClassVar[tuple[type[nn.Module], ...]]

    def __init__(self, network: DetectionModel, base: str) -> None:
        self._net = cast(Any, network)  # Ultralytics' classes carry no types
        self.head: Any = self._net.model[-1]
        super().__init__(network, [str(self._net.names[index]) for index in range(self.head.nc)], base)

    @classmethod
    def load(cls, name: str, *, fold: bool = True) -> Self:
        network, base = weights.read_network(name)
        if not cls.knows(network):
            raise CheckpointError(f"{name}: {described(network)}, not a supported detector; expected {cls.supported}")
        return cls.of(network, base, fold=fold)

    @classmethod
    def knows(cls, network: nn.Module) -> bool:
        """Whether a network is one of this family."""
        return isinstance(network, DetectionModel) and type(cast(Any, network).model[-1]) in cls.heads

    @classmethod
    def of(cls, network: nn.Module, base: str, *, fold: bool = True) -> Self:
        """A detector of a network that the family `knows`.

        Args:
            network: is changed where it is folded.
            base: file name of its checkpoint.
            fold: as in `load`.

        Raises:
            CheckpointError: its layers cannot compute: they do not fit each other, or an earlier version of Ultralytics
                left them without what today's asks for.
        """
        with weights.making(base), torch.no_grad():
            norms = fold_network(network) if fold else {}
            network.eval()(torch.zeros(1, 3, TRIED, TRIED))
            detector = cls(cast(DetectionModel, network), base)
            detector.norms = norms
            return detector

    def stage(self, layer: str) -> str:
        parts = layer.split(".")
        index = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0
        if index == len(self._net.model) - 1:
            return "head"
        # An architecture file lists the backbone's layers first.
        return "backbone" if index < len(self._net.yaml["backbone"]) else "neck"

    def save_checkpoint(self, path: Path) -> None:
        """Write the network as a checkpoint that `ultralytics.YOLO` (or `RTDETR`) and `load` open."""
        network = self._for_saving()
        network.names = dict(enumerate(self.names))
        network.nc = network.yaml["nc"] = len(self.names)
        network.args = dict(DEFAULT_CFG_DICT, task="detect", model=self.base)
        checkpoint = {
            "model": network,
            "train_args": network.args,
            "date": datetime.now(timezone.utc).isoformat(),
            "version": ultralytics.__version__,
        }
        write_torch(path, checkpoint)

    def _for_saving(self) -> Any:
        """A copy of the network that holds nothing of ours."""
        return copy.deepcopy(self._net).eval()

    @property
    def _head_name(self) -> str:
        return f"model.{len(self._net.model) - 1}"


def described(network: nn.Module) -> str:
    """What a network is, for the refusal of a foreign one."""
    kind = type(network).__name__
    layers = getattr(network, "model", None)
    return f"a {kind} with a {type(layers[-1]).__name__} head" if isinstance(layers, nn.Sequential) else f"a {kind}"


def boxes_of(targets: Tensor, side: int) -> dict[str, Tensor]:
    """Boxes as Ultralytics' losses want them.

    Args:
        targets: (M, 6): index in the batch, class, x1, y1, x2, y2 in pixels.
        side: of the square pictures, pixels.

    Returns:
        `batch_idx` (M,), `cls` (M,), and `bboxes` (M, 4): centre, width and height by the side.
    """
    corners = targets[:, 2:] / side
    centres = torch.cat(((corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]), 1)
    return {"batch_idx": targets[:, 0], "cls": targets[:, 1], "bboxes": centres}


def fold_network(network: nn.Module) -> dict[str, FoldedNorm]:
    """Fold every BatchNorm and re-parametrised branch of an Ultralytics network, in place.

    Unlike Ultralytics' `fuse`, NMS-free heads keep both branches: training needs the two.

    Returns:
        The BatchNorm of plain convolutions, by the name of the convolution; re-parametrised branches have none.
    """
    norms: dict[nn.Module, FoldedNorm] = {}
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
            norms[module.conv] = fold_batchnorm(module.conv, module.bn)
            del module.bn
            module.forward = module.forward_fuse  # type: ignore[method-assign]
        elif isinstance(module, nn.Sequential):
            norms.update(_fold_pairs(module))
    return {name: norms[layer] for name, layer in network.named_modules() if layer in norms}


def _fold_pairs(layers: nn.Sequential) -> Iterator[tuple[nn.Module, FoldedNorm]]:
    """Fold convolutions that a BatchNorm follows in the same sequence: the input projections of RT-DETR."""
    for index in range(len(layers) - 1):
        conv, norm = layers[index], layers[index + 1]
        if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
            yield conv, fold_batchnorm(conv, norm)
            layers[index + 1] = nn.Identity()
