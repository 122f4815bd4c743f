"""Small detectors of every family, and pictures with something in them: no network, no downloads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops import FrozenBatchNorm2d

import vision_lora.detectors  # noqa: F401 - imports Ultralytics as this package wants it
from vision_lora.detectors.base import Detector
from vision_lora.detectors.rtdetr import RtdetrDetector
from vision_lora.detectors.torchvision import TorchvisionDetector
from vision_lora.detectors.transformers import TransformersDetector
from vision_lora.detectors.yolo import YoloDetector

# isort: split
# After the families, which set how Ultralytics behaves.
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel, yaml_model_load

SIZE = 128
CLASSES = 5  # of the base
NAMES = ("scratch", "dent", "pit")
COLOURS = torch.tensor([[220, 40, 40], [40, 200, 60], [50, 70, 230]], dtype=torch.uint8)

YOLO = (
    "yolov8n.yaml",
    "yolov8n-p2.yaml",
    "yolov8n-p6.yaml",
    "yolov9t.yaml",
    "yolov10n.yaml",
    "yolo11n.yaml",
    "yolo12n.yaml",
    "yolo26n.yaml",
)
RTDETR: dict[str, Any] = {
    "nc": CLASSES,
    "scales": {"n": [1.0, 1.0, 1024]},
    "scale": "n",
    "backbone": [
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "HGBlock", [16, 32, 3, 2, True, False]],
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "Conv", [32, 3, 2]],
    ],
    "head": [
        [-1, 1, "AIFI", [64, 4]],
        [-1, 1, "RepC3", [32]],
        [[3, 4, 6], 1, "RTDETRDecoder", ["nc", 32, 20, 2, 4, 2, 64]],
    ],
}


def pictures(count: int = 8, size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Grey noise with rectangles in the colour of their class, and their boxes of many sizes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(90, 130, (count, 3, size, size), dtype=torch.uint8, generator=generator)
    rows = []
    for index in range(count):
        for place, share in enumerate((0.9, 0.5, 0.3, 0.15)):
            side = torch.tensor([share, share * 0.8]) * size
            corner = (torch.rand(2, generator=generator) * (size - side)).round()
            label = (index + place) % len(NAMES)
            x1, y1, x2, y2 = (int(value) for value in torch.cat((corner, corner + side)))
            images[index, :, y1:y2, x1:x2] = COLOURS[label][:, None, None]
            rows.append([index, label, x1, y1, x2, y2])
    return images, torch.tensor(rows, dtype=torch.float32)


def yolo(name: str) -> Detector:
    """A YOLO of a generation's architecture file, half as wide as its smallest where it can be."""
    layers = yaml_model_load(name)
    if "scales" in layers and "12" not in name:  # whose area attention needs the width that it has
        layers["scales"] = {key: [0.33, 0.125, 256] for key in layers["scales"]}
    network: Any = as_trained(DetectionModel({**layers, "nc": CLASSES}, verbose=False))
    with torch.no_grad():
        network.train()(pictures()[0] / 255)  # BatchNorm takes the statistics of what it is to see
    network.eval()
    head = network.model[-1]
    for branch in filter(None, (head.cv2, getattr(head, "one2one_cv2", None))):
        for level in branch:  # each level sees objects of four of its cells, so that each has something to find
            level[-1].weight.data.mul_(0.01)
            edges = level[-1].bias.data.view(4, -1)
            edges[:, min(2, head.reg_max - 1)] = 9.0 if head.reg_max > 1 else 2.0
    return YoloDetector.of(network, name)


def rtdetr(name: str = "rtdetr.yaml") -> Detector:
    """An RT-DETR of every part that the large ones have."""
    return RtdetrDetector.of(as_trained(RTDETRDetectionModel(dict(RTDETR), verbose=False)), name)


def hugging(name: str, *, fold: bool = True) -> Detector:
    """A detector of transformers, from a random configuration."""
    import transformers

    processor = transformers.DetrImageProcessor() if name != "rt_detr" else transformers.RTDetrImageProcessor()
    network = transformers.AutoModelForObjectDetection.from_config(configuration(name))
    return TransformersDetector(as_trained(network), processor, name, fold=fold)


def torchvision(name: str, *, fold: bool = True) -> Detector:
    """A detector of torchvision on a small backbone."""
    names = tuple(f"class {index}" for index in range(CLASSES))
    return TorchvisionDetector(as_trained(_torchvision(name)), names, name, fold=fold)


TRANSFORMERS = (
    "yolos",
    "detr",
    "conditional_detr",
    "dab_detr",
    "deformable_detr",
    "deformable_detr two-stage",
    "rt_detr",
    "rt_detr_v2",
    "d_fine",
    "deimv2",
    "rf_detr",
    "lw_detr",
)
TORCHVISION = ("faster_rcnn", "retinanet", "fcos", "ssdlite")
MAKERS: dict[str, Callable[[], Detector]] = {
    **{name: lambda name=name: yolo(name) for name in YOLO},  # type: ignore[misc]
    "rtdetr": rtdetr,
    **{f"hf:{name}": lambda name=name: hugging(name) for name in TRANSFORMERS},  # type: ignore[misc]
    **{f"torchvision:{name}": lambda name=name: torchvision(name) for name in TORCHVISION},  # type: ignore[misc]
}


def make(name: str) -> Detector:
    """A detector by its key in `MAKERS`, the same each time."""
    torch.manual_seed(0)
    return MAKERS[name]()


def as_trained(network: nn.Module) -> nn.Module:
    """Give a network weights that let signals through, and no layer of zeros, as training would."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.weight.requires_grad:  # but not what only integrates
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        if hasattr(layer, "running_var"):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
            layer.momentum = 0.9
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return network.eval()


def configuration(name: str) -> Any:
    """The smallest configuration of a detector of transformers."""
    import transformers as hf

    resnet = {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "layer_type": "basic"}
    levels = ["stage2", "stage3", "stage4"]
    plain = {
        "use_timm_backbone": False,
        "backbone": None,
        "use_pretrained_backbone": False,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "num_queries": 20,
    }
    last = {**plain, "backbone_config": hf.ResNetConfig(**resnet, out_features=levels[-1:])}
    every = {**plain, "backbone_config": hf.ResNetConfig(**resnet, out_features=levels), "d_model": 32}
    hybrid = {
        "d_model": 32,
        "encoder_hidden_dim": 32,
        "encoder_in_channels": [16, 24, 32],
        "encoder_layers": 1,
        "encoder_ffn_dim": 32,
        "encoder_attention_heads": 2,
        "decoder_in_channels": [32, 32, 32],
        "decoder_ffn_dim": 32,
        "decoder_layers": 2,
        "decoder_attention_heads": 2,
        "decoder_n_points": 2,
        "num_queries": 20,
        "num_denoising": 8,
    }
    gpu_net = hf.HGNetV2Config(
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 16, 24, 24],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[16, 16, 24, 32],
        stage_num_blocks=[1, 1, 1, 1],
        stage_downsample=[False, True, True, True],
        stage_light_block=[False, False, True, True],
        stage_kernel_size=[3, 3, 3, 3],
        stage_numb_of_layers=[2, 2, 2, 2],
        hidden_sizes=[16, 16, 24, 32],
        depths=[1, 1, 1, 1],
        out_features=levels,
    )
    gpu_net.stage_in_channels = [8, 16, 16, 24]
    vit = {
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
        "out_features": ["stage2", "stage4"],
    }
    grouped = {
        "d_model": 32,
        "decoder_layers": 2,
        "decoder_self_attention_heads": 2,
        "decoder_cross_attention_heads": 2,
        "decoder_ffn_dim": 32,
        "decoder_n_points": 2,
        "num_queries": 20,
        "group_detr": 3,
    }
    configurations: dict[str, Callable[[], Any]] = {
        "yolos": lambda: hf.YolosConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            image_size=[96, 96],
            num_detection_tokens=20,
        ),
        "detr": lambda: hf.DetrConfig(**last, d_model=32),
        "conditional_detr": lambda: hf.ConditionalDetrConfig(**last, d_model=32),
        "dab_detr": lambda: hf.DabDetrConfig(**last, hidden_size=32),
        "deformable_detr": lambda: hf.DeformableDetrConfig(**every),
        "deformable_detr two-stage": lambda: hf.DeformableDetrConfig(
            **every, two_stage=True, with_box_refine=True, two_stage_num_proposals=20
        ),
        "rt_detr": lambda: hf.RTDetrConfig(
            backbone_config=hf.RTDetrResNetConfig(**resnet, out_features=levels), **hybrid
        ),
        "rt_detr_v2": lambda: hf.RTDetrV2Config(
            backbone_config=hf.RTDetrResNetConfig(**resnet, out_features=levels), **hybrid
        ),
        "d_fine": lambda: hf.DFineConfig(backbone_config=gpu_net, **{**hybrid, "decoder_n_points": [2, 2, 2]}),
        "deimv2": lambda: hf.Deimv2Config(backbone_config=gpu_net, **{**hybrid, "decoder_n_points": [2, 2, 2]}),
        "rf_detr": lambda: hf.RfDetrConfig(
            backbone_config={"model_type": "rf_detr_dinov2", **vit, "num_windows": 2}, **grouped, intermediate_size=32
        ),
        "lw_detr": lambda: hf.LwDetrConfig(
            backbone_config={
                "model_type": "lw_detr_vit",
                **vit,
                "pretrain_image_size": 64,
                "num_windows": 4,
                "window_block_indices": [0, 2],
            },
            projector_scale_factors=[1.0],
            **grouped,
        ),
    }
    found = configurations[name]()
    found.num_labels = CLASSES
    return found


class _Backbone(nn.Module):
    """Four halvings of the picture, with frozen BatchNorm."""

    out_channels = 32

    def __init__(self) -> None:
        super().__init__()
        channels = (3, 8, 16, 24, 32)
        for level in range(4):
            conv = nn.Conv2d(channels[level], channels[level + 1], 3, 2, 1, bias=False)
            self.add_module(f"layer{level + 1}", nn.Sequential(conv, FrozenBatchNorm2d(channels[level + 1]), nn.SiLU()))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(x)
        return x


class _Levels(_Backbone):
    """The last two levels, one below the other, as SSD wants them."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        *first, last = self.children()
        for layer in first:
            x = layer(x)
        return {"0": x, "1": last(x)}


def _torchvision(name: str) -> nn.Module:
    pyramid = BackboneWithFPN(_Backbone(), {"layer3": "0", "layer4": "1"}, [24, 32], 32)
    rows = CLASSES + 1
    anchors = AnchorGenerator(((16,), (48,), (96,)), ((0.5, 1.0, 2.0),) * 3)
    if name == "faster_rcnn":
        return detection.FasterRCNN(
            pyramid,
            rpn_anchor_generator=anchors,
            box_head=TwoMLPHead(32 * 7 * 7, 32),
            box_predictor=FastRCNNPredictor(32, rows),
            rpn_pre_nms_top_n_train=100,
            rpn_pre_nms_top_n_test=100,
            rpn_post_nms_top_n_train=50,
            rpn_post_nms_top_n_test=50,
            box_batch_size_per_image=32,
        )
    if name == "retinanet":
        return detection.RetinaNet(pyramid, rows, anchor_generator=anchors)
    if name == "fcos":
        points = AnchorGenerator(((8,), (16,), (32,)), ((1.0,),) * 3)
        return detection.FCOS(pyramid, rows, anchor_generator=points)
    boxes = DefaultBoxGenerator([[2], [2]], scales=[0.2, 0.5, 0.9])
    head = SSDLiteHead([24, 32], boxes.num_anchors_per_location(), rows, nn.BatchNorm2d)
    return SSD(_Levels(), boxes, (SIZE, SIZE), rows, head=head)
