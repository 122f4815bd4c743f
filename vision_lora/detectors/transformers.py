"""Detectors of Hugging Face transformers, through `AutoModelForObjectDetection`: networks and losses are theirs.

Nothing here knows one architecture from another. Which layers hold classes is seen by building the network once more,
without memory, for one class more; which BatchNorm follows which convolution by running it.
"""

from __future__ import annotations

import copy
import logging
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from vision_lora.detectors.base import Detector, Model
from vision_lora.detectors.losses.share import counting, part, several, share, summed
from vision_lora.detectors.network.fold import fold_followed
from vision_lora.detectors.network.heads import Classifier, Table
from vision_lora.detectors.network.precision import full_precision
from vision_lora.detectors.network.transformers_layers import (
    is_leaf,
    share_tied,
    silent_layer,
    take_apart,
    with_backbone,
)
from vision_lora.detectors.queries import initialise_scores, read_queries
from vision_lora.detectors.readout import Found, Readout
from vision_lora.errors import CheckpointError, ConfigError, TrainingError, reason
from vision_lora.pictures.images import PAD_VALUE

if TYPE_CHECKING:
    from typing_extensions import Self

PREFIX = "hf:"
KINDS = (  # those that are tested; others of AutoModelForObjectDetection load too where they answer in the same way
    "yolos",
    "detr",
    "conditional_detr",
    "dab-detr",
    "deformable_detr",
    "rt_detr",
    "rt_detr_v2",
    "d_fine",
    "deimv2",
    "rf_detr",
    "lw_detr",
)
SIZE = 320  # side of the picture that a network is tried with at load, pixels; has cells for some hundred queries
# Parts of layer names that say where in the network they are; what is neither backbone nor neck is head.
BACKBONE = {"backbone", "conv_encoder", "vit"}
NECK = {"encoder", "input_proj", "input_projection", "encoder_input_proj", "decoder_input_proj"}


class TransformersDetector(Detector):
    """A detector that answers with class logits and boxes of queries: YOLOS, DETR and all that came of it.

    Boxes are denoised from random noise where they are: several processes draw other noise than one does. And of what
    D-FINE and DEIM make small, the distance from their own last layer is a mean of square roots of counts, and DEIM's
    boxes are counted after matching: there each process weighs its own pictures.

    Args:
        network: of transformers, for object detection.
        processor: the image processor that its weights were trained with.
        base: name of its checkpoint, without folders.
        fold: fold BatchNorm where there is any.

    Attributes:
        norms: empty in networks of LayerNorm, which have nothing to fold.
    """

    family = "transformers"
    supported = (
        "hf:OWNER/NAME or hf:/folder for a detector of transformers (YOLOS, DETR, RT-DETR, D-FINE, RF-DETR, ...)"
    )
    suffix = ""

    def __init__(self, network: nn.Module, processor: Any, base: str, *, fold: bool = True) -> None:
        net: Any = network
        self._net = net.eval()
        self._processor = processor
        self._configs = list({id(config): config for config in _configs(net)}.values())
        self.stride = _stride(net.config)
        for config in self._configs:
            # Anchors and positions made beforehand are for one size of picture only.
            for name in ("anchor_image_size", "eval_size"):
                if hasattr(config, name):
                    setattr(config, name, None)
            if (
                config.model_type == "deformable_detr"
            ):  # whose decoder layers have heads of their own, which learn by it
                config.auxiliary_loss = True
        for layer in net.modules():
            if hasattr(layer, "eval_size"):
                layer.eval_size = None
        share_tied(net)
        names = [str(net.config.id2label[index]) for index in range(net.config.num_labels)]
        self._class_layers = take_apart(net)
        net.feeding = _Feeding(processor)
        net.loss_function = _Loss(net.loss_function)
        noise = torch.rand((1, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0))
        with _fed_with_zeros(net) as self._idle:
            if fold:
                self.norms = fold_followed(net, lambda: self._forward(noise))
            else:
                with torch.no_grad():
                    self._forward(noise)
        super().__init__(net, names, base)

    @classmethod
    def claims(cls, name: str) -> bool:
        """Whether a name is one of this family: with its prefix, or a folder that transformers has written."""
        return name.startswith(PREFIX) or (Path(name) / "config.json").is_file()

    @classmethod
    def load(cls, name: str, *, fold: bool = True) -> Self:
        try:
            import transformers
        except ImportError as error:
            raise CheckpointError(
                f"{name}: needs transformers, which is not installed: pip install 'vision_lora[transformers]'"
            ) from error
        path, _, revision = name.removeprefix(PREFIX).partition("@")
        if (path.startswith(("/", ".", "~")) or not path) and not Path(path).is_dir():
            raise CheckpointError(f"{name}: no such folder; expected one with config.json and model.safetensors")
        source: dict[str, Any] = {"revision": revision or "main", "trust_remote_code": False}
        if Path(path).is_dir():  # nor does a folder's configuration reach for the network
            source["local_files_only"] = True
        with _quiet(transformers), _in_one_line(name):
            config = transformers.AutoConfig.from_pretrained(path, **source)
            known = transformers.AutoModelForObjectDetection._model_mapping
            if type(config) not in known:
                kinds = ", ".join(sorted({kind.model_type for kind in known}))
                raise CheckpointError(
                    f"{name}: a {config.model_type} network, not a detector of transformers; expected one of {kinds}"
                )
            if unnamed := set(range(config.num_labels)) - {i for i, label in config.id2label.items() if label}:
                raise CheckpointError(f"{name}: config.json: id2label has no name for class {min(unnamed)}")
            processors: Any = transformers.AutoImageProcessor
            processor = processors.from_pretrained(path, **source)
            network, report = transformers.AutoModelForObjectDetection.from_pretrained(
                path, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **source
            )
        if missing := sorted(report["missing_keys"]):
            raise CheckpointError(
                f"{name}: its weights are not complete, {len(missing)} tensors are missing ({missing[0]}, ...); "
                "expected a checkpoint that was trained to detect"
            )
        return cls(network, processor, Path(path).name, fold=fold)

    @classmethod
    def models(cls) -> Iterator[Model]:
        yield Model(f"{PREFIX}OWNER/NAME", ", ".join(KINDS))

    def class_layers(self) -> tuple[str, ...]:
        return self._class_layers

    def fixed_layers(self) -> Mapping[str, str]:
        idle = dict.fromkeys(self._idle, "fixed: its input is always zero, as the queries that decoding starts from")
        silent = silent_layer(self._net.config)
        if not silent:
            return idle
        first = ("model.enc_output", silent, silent.replace("class", "bbox"))
        names = [name for name, layer in self.network.named_modules() if name.startswith(first) and is_leaf(layer)]
        return {**idle, **dict.fromkeys(names, "fixed: transformers trains no proposals of the encoder")}

    def stage(self, layer: str) -> str:
        parts = set(layer.split("."))
        if parts & BACKBONE and "projector" not in parts:
            return "backbone"
        return "neck" if parts & {*NECK, "projector"} else "head"

    def initialise_rows(self, weight: Tensor, bias: Tensor | None, layer: str) -> None:
        initialise_scores(weight, bias, self.network.get_submodule(layer), focal=not self._softmax)

    def classes_changed(self, count: int) -> None:
        for config in self._configs:
            config.num_labels = count

    def training_losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        self.train_mode()
        side = self._padded(images.shape[-1])
        corners = targets[:, 2:] / side
        boxes = torch.cat(((corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]), 1)
        labels = [
            {"class_labels": targets[mine, 1].long(), "boxes": boxes[mine]}
            for mine in (targets[:, 0] == index for index in range(len(images)))
        ]
        outputs = self._forward(images, labels=labels)
        return {"detection": outputs.loss}

    def read(self, images: Tensor, readout: Readout) -> list[Found]:
        outputs = self._forward(images)
        logits = outputs.logits.float()
        scores = logits.softmax(-1)[..., :-1] if self._softmax else logits.sigmoid()
        found = read_queries(outputs.pred_boxes, scores, self._padded(images.shape[-1]), readout)
        return [one._replace(boxes=one.boxes.clamp(max=images.shape[-1])) for one in found]

    def save_checkpoint(self, path: Path) -> None:
        """Write the network as a folder that transformers' `from_pretrained` and `load` open."""
        if self.norms:
            raise ConfigError(
                f"{path}: {self.base} was loaded folded, which transformers has no layout for; load it with fold=False"
            )
        network = copy.deepcopy(self._net)
        del network.feeding, network._loss_function
        for parent in list(network.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, (Classifier, Table)):
                    setattr(parent, name, child.joined())
        if silent := silent_layer(network.config):
            layer = network.get_submodule(silent)
            layer.weight = nn.Parameter(layer.weight[:1].repeat(len(self.names), 1))
            layer.bias = nn.Parameter(layer.bias[:1].repeat(len(self.names)))
        network.config.id2label = dict(enumerate(self.names))
        network.config.label2id = {name: index for index, name in enumerate(self.names)}
        partial = path.with_name(path.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        network.requires_grad_(True).save_pretrained(partial)
        self._processor.save_pretrained(partial)
        shutil.rmtree(path, ignore_errors=True)
        partial.replace(path)

    @property
    def _softmax(self) -> bool:
        """Whether classes compete with each other and with no object, as in DETR and YOLOS."""
        return any(isinstance(layer, Classifier) for layer in self.network.modules())

    def _padded(self, side: int) -> int:
        """The next side that the network can divide into its patches and windows."""
        return -(-side // self.stride) * self.stride

    def _forward(self, images: Tensor, **labels: Any) -> Any:
        missing = self._padded(images.shape[-1]) - images.shape[-1]
        try:
            return self._net(pixel_values=self._net.feeding(images, missing), **labels)
        except RuntimeError as error:
            if "selected index k out of range" not in str(error):
                raise
            raise ConfigError(
                f"{self.base}: pictures of {images.shape[-1]} px have fewer cells than it has queries; give a larger "
                "--imgsz"
            ) from error


class _Feeding(nn.Module):
    """What a network's image processor does to a square picture, but for resizing it. Part of the base's fingerprint.

    Args:
        processor: image processor of transformers.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, processor: Any) -> None:
        super().__init__()
        scale = 255 * (processor.rescale_factor if processor.do_rescale else 1.0)
        normal = processor.do_normalize
        mean = torch.tensor(processor.image_mean if normal else (0.0, 0.0, 0.0)).view(1, 3, 1, 1) / scale
        std = torch.tensor(processor.image_std if normal else (1.0, 1.0, 1.0)).view(1, 3, 1, 1) / scale
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, images: Tensor, missing: int) -> Tensor:
        """(B, 3, S, S) of 0 to 1 to what the network was trained to see, with so many grey pixels right and below."""
        return (F.pad(images, (0, missing, 0, missing), value=PAD_VALUE / 255) - self.mean) / self.std


class _Loss:
    """A loss of transformers in full precision, also under autocast: matching and overlaps are not for half."""

    def __init__(self, loss: Any) -> None:
        self._loss = loss

    def __call__(
        self, logits: Tensor, labels: Any, device: torch.device, boxes: Tensor, config: Any, *args: Any, **more: Any
    ) -> Any:
        if not (torch.isfinite(logits).all() and torch.isfinite(boxes).all()):
            raise TrainingError("the network's outputs are not numbers: try a lower --lr, or --precision fp32")
        with torch.autocast(logits.device.type, enabled=False):
            logits, boxes, args, more = full_precision((logits, boxes, args, more))
            loss, terms, auxiliary = self._loss(logits, labels, device, boxes, config, *args, **more)
            if several():
                loss = self._shared(loss, terms, labels, logits, config)
            return loss, terms, auxiliary

    def _shared(self, loss: Tensor, terms: dict[str, Tensor], labels: Any, logits: Tensor, config: Any) -> Tensor:
        """The loss as this process's part of that of all processes' pictures: see `share`."""
        own = logits.new_tensor(float(sum(len(label["class_labels"]) for label in labels)))
        if hasattr(sys.modules[self._loss.__module__], "dist"):  # it takes the processes' mean itself, of at least 1
            with counting(True):
                divided = (summed(own) * config.group_detr / dist.get_world_size()).clamp(min=1)
            return loss * part(divided, (summed(own) * config.group_detr).clamp(min=1))
        factor = share(own, logits)
        loss = loss * factor
        if logits.shape[-1] == config.num_labels + 1:
            # Classes that compete with no object: a mean over all queries, those of no object with a lower weight.
            queries = logits.shape[1]
            matched = sum(min(len(label["class_labels"]), queries) for label in labels)
            weight = logits.new_tensor(matched + (len(labels) * queries - matched) * config.eos_coefficient)
            classes = torch.stack([term for name, term in terms.items() if name.startswith("loss_ce")]).sum()
            loss = loss + (part(weight, summed(weight)) - factor) * classes
        return loss


def _configs(network: Any) -> Iterator[Any]:
    """The configurations in the network that count its classes: its own, and copies of it."""
    for module in network.modules():
        if type(getattr(module, "config", None)) is type(network.config):
            yield module.config


def _stride(config: Any) -> int:
    """What a picture's side has to be a multiple of: patches by windows, where the network is made of these."""
    parts = [part for part in with_backbone(config) if hasattr(part, "patch_size")]
    if not parts:
        return 1
    patch = parts[-1].patch_size
    windows: Any = getattr(parts[-1], "num_windows_side", None) or getattr(parts[-1], "num_windows", 1)
    return int(patch if isinstance(patch, int) else max(patch)) * int(windows)


@contextmanager
def _fed_with_zeros(network: nn.Module) -> Iterator[list[str]]:
    """Watch forward passes; gives the names of linear layers that get nothing but zeros in them, once they are over."""
    fed: dict[nn.Module, bool] = {}

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        fed[layer] = fed.get(layer, False) or bool(inputs[0].any())

    linear: dict[nn.Module, str] = {layer: name for name, layer in network.named_modules() if type(layer) is nn.Linear}
    hooks = [layer.register_forward_pre_hook(look) for layer in linear]
    names: list[str] = []
    try:
        yield names
    finally:
        for hook in hooks:
            hook.remove()
    names += [linear[layer] for layer, some in fed.items() if not some]


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep transformers without its progress bars and reports for a while."""
    logs, hub = transformers.utils.logging, logging.getLogger("huggingface_hub")
    verbosity, bars, level = logs.get_verbosity(), logs.is_progress_bar_enabled(), hub.level
    logs.set_verbosity_error()
    logs.disable_progress_bar()
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        hub.setLevel(level)
        logs.set_verbosity(verbosity)
        if bars:
            logs.enable_progress_bar()


@contextmanager
def _in_one_line(name: str) -> Iterator[None]:
    """Turn what transformers raises on files that are not there or not right into one line."""
    try:
        yield
    except CheckpointError:
        raise
    # Not there or no network: OSError. An unknown architecture or a broken file: the others.
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
        ImportError,
        SafetensorError,
    ) as error:
        text = reason(error)
        raise CheckpointError(
            f"{name}: cannot be loaded ({text[:160]}); without internet, copy the folder of the model (config.json, "
            "preprocessor_config.json, model.safetensors) to this machine and give it: --model hf:/path/to/folder"
        ) from error
