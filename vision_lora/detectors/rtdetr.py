"""RT-DETR on Ultralytics' own modules: network, loss and denoising are theirs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from ultralytics.models.utils.loss import RTDETRDetectionLoss
from ultralytics.nn.modules import RTDETRDecoder
from ultralytics.nn.tasks import DetectionModel

from vision_lora.detectors.base import Model
from vision_lora.detectors.losses.share import share, summed
from vision_lora.detectors.network.precision import full_precision
from vision_lora.detectors.queries import initialise_scores, read_queries
from vision_lora.detectors.readout import Found, Readout
from vision_lora.detectors.ultralytics import UltralyticsDetector, boxes_of


class RtdetrDetector(UltralyticsDetector):
    """RT-DETR (Zhao et al. 2024): a convolutional backbone, a hybrid encoder and a decoder of deformable attention.

    Boxes are denoised from random noise: several processes draw other noise than one does, for losses of the same mean.

    Args:
        network: detection network with an `RTDETRDecoder` head.
        base: file name of its checkpoint.
    """

    family = "ultralytics-rtdetr"
    supported = "a detection checkpoint of RT-DETR (rtdetr-l.pt, rtdetr-x.pt), or its architecture"
    heads = (RTDETRDecoder,)

    def __init__(self, network: DetectionModel, base: str) -> None:
        super().__init__(network, base)
        self.head._generate_anchors = _anchors

    @classmethod
    def models(cls) -> Iterator[Model]:
        yield Model("rtdetr-l.pt", "l x", partial(cls.load, "rtdetr-l.yaml"))

    def class_layers(self) -> tuple[str, ...]:
        decoder = [f"dec_score_head.{index}" for index in range(len(self.head.dec_score_head))]
        layers = ("enc_score_head", *decoder, "denoising_class_embed")
        return tuple(f"{self._head_name}.{layer}" for layer in layers)

    def initialise_rows(self, weight: Tensor, bias: Tensor | None, layer: str) -> None:
        initialise_scores(weight, bias, self.network.get_submodule(layer), focal=True)

    def classes_changed(self, count: int) -> None:
        self._net.nc = self.head.nc = count

    def training_losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        self.train_mode()
        boxes = boxes_of(targets, images.shape[-1])
        groups = [int((boxes["batch_idx"] == index).sum()) for index in range(len(images))]
        # Ultralytics reads boxes in the order of their pictures.
        order = boxes["batch_idx"].argsort(stable=True)
        boxes = {name: values[order] for name, values in boxes.items()}
        known = {
            "cls": boxes["cls"].long(),
            "bboxes": boxes["bboxes"],
            "batch_idx": boxes["batch_idx"].long(),
            "gt_groups": groups,
        }
        self.head.shapes = []
        outputs = self._net.predict(images, batch=known)
        criterion = _Parts(nc=self.head.nc, use_vfl=True)
        self._net.__dict__["criterion"] = criterion  # not registered: it is no part of the network
        with torch.autocast(images.device.type, enabled=False):
            self._net.loss({"img": images, **boxes}, full_precision(outputs))
        del self._net.__dict__["criterion"]
        return criterion.sums()

    def read(self, images: Tensor, readout: Readout) -> list[Found]:
        self.head.shapes = []
        boxes, logits = self.network(images)[1][:2]
        return read_queries(boxes.squeeze(0), logits.squeeze(0).float().sigmoid(), images.shape[-1], readout)

    def _for_saving(self) -> Any:
        network = super()._for_saving()
        del network.model[-1]._generate_anchors
        return network


class _Parts(RTDETRDetectionLoss):
    """Ultralytics' loss, divided by the boxes of all processes, which keeps its terms."""

    def forward(  # type: ignore[override]  # as Ultralytics' own
        self, preds: Any, batch: Any, dn_bboxes: Any = None, dn_scores: Any = None, dn_meta: Any = None
    ) -> dict[str, Tensor]:
        denoised = sum(map(len, dn_meta["dn_gt_idx"])) if dn_meta else 0
        boxes = batch["bboxes"].new_tensor([len(batch["bboxes"]), denoised])
        self.some = int(bool(summed(boxes)[0]))
        terms = super().forward(preds, batch, dn_bboxes, dn_scores, dn_meta)
        known, noised = share(boxes, boxes)
        self.terms = {name: term * (noised if name.endswith("_dn") else known) for name, term in terms.items()}
        return self.terms

    def _get_loss_class(
        self, pred_scores: Tensor, targets: Tensor, gt_scores: Tensor, num_gts: int, postfix: str = ""
    ) -> Any:
        # Without any box it is another kind of loss; of a process without any in a batch with some, it must not be.
        return super()._get_loss_class(pred_scores, targets, gt_scores, num_gts or self.some, postfix)

    def sums(self) -> dict[str, Tensor]:
        """The terms of all decoder layers and of denoising added up by what they measure."""
        parts: dict[str, Tensor] = {}
        for name, term in self.terms.items():
            part = name.split("_")[1]  # loss_giou_aux_dn
            parts[part] = parts[part] + term if part in parts else term
        return parts


def _anchors(shapes: list[list[int]], feats: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """As the decoder's own, in full precision.

    Under autocast the features are in half precision, where a coordinate near 1 is some pixels off; and the decoder
    keeps its anchors for the passes to come, the base pass among them.
    """
    anchors, valid = RTDETRDecoder._generate_anchors(shapes, feats.float(), **options)
    return anchors, valid
