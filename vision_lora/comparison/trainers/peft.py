"""PEFT's LoRA as it is commonly put on a YOLO, trained by our loop: the other library's baseline."""

from __future__ import annotations

import copy
import platform
from collections.abc import Sequence
from pathlib import Path

import lightning_fabric
import peft
import torch
from lightning_fabric import Fabric
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from torch import Tensor, nn

from vision_lora import __version__
from vision_lora.benchmarks.peft import with_peft
from vision_lora.comparison.cells.cell import Order, Trained
from vision_lora.comparison.cells.stopwatch import Clock
from vision_lora.comparison.trainers.ours import Timed, step_mib
from vision_lora.datasets.batches.augment import load_recipe
from vision_lora.datasets.batches.loader import Loading, eval_loader, train_loader
from vision_lora.datasets.open import open_dataset
from vision_lora.datasets.sample import Dataset
from vision_lora.detectors.full import replace_classes
from vision_lora.detectors.load import load_base, load_detector
from vision_lora.evaluation.measure import at_once, measure, measure_map
from vision_lora.options.train import TrainConfig
from vision_lora.system.cores import loader_processes
from vision_lora.system.devices import make_fabric, peak_memory_mib
from vision_lora.training.loop.fit import History, fit
from vision_lora.training.loop.objective import Task
from vision_lora.training.methods import Learner
from vision_lora.training.runs.state import STATE, State, fingerprint


def train_peft(order: Order, folder: Path) -> Trained:
    """Train a cell, or go on with one that was interrupted.

    The same dense convolutions as our adapter changes, of the same rank; BatchNorm kept and frozen, new class layers
    trained in full. Loader, optimiser, schedule, average and validation are those of `vision_lora.training`.
    """
    config = TrainConfig(**order.options)
    clock = Clock(folder / "attempts.json")
    fabric = make_fabric(config.device, config.precision)
    lightning_fabric.seed_everything(config.seed, verbose=False)
    dataset = open_dataset(config.data).sure()
    learner = peft_learner(config, dataset.names)
    out = folder / "train"
    out.mkdir(exist_ok=True)
    history = _fit(config, fabric, dataset, learner, out, clock)
    peak = peak_memory_mib(fabric.device)
    best, val = load_detector(str(out / "best.pt"), None, config.device), dataset.splits["val"]
    result, _ = measure(
        best,
        eval_loader(val, config.imgsz, at_once(config.batch_size, fabric.device)),
        val,
        dataset.names,
        mode="general",
    )
    seconds = clock.keep()
    return Trained(
        weights="train/best.pt",
        adapter=False,
        map50_95=result.map50_95,
        map50=result.map50,
        best_epoch=history.best_epoch,
        epochs=len(history.rows),
        curve=[row["map50_95"] for row in history.rows],
        trainable_parameters=sum(learner.counts.values()),
        total_parameters=learner.total,
        bytes=(out / "best.safetensors").stat().st_size,
        seconds_per_step=history.seconds_per_step,
        images_per_second=history.rows[-1]["images_per_second"],
        peak_memory_mib=peak,
        saved_mib=step_mib(peft_learner(config, dataset.names), config),
        wall_seconds=seconds,
        device=str(fabric.device),
        precision=str(fabric._precision.precision),
        versions={
            "vision_lora": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "peft": peft.__version__,
        },
    )


def _fit(config: TrainConfig, fabric: Fabric, dataset: Dataset, learner: Learner, out: Path, clock: Clock) -> History:
    """Train with our loop; the best and the last weights are left in `out`, as PEFT's own and merged."""
    detector, val = learner.detector, dataset.splits["val"]
    plain = load_base(config.model, fold=False)
    replace_classes(plain, dataset.names)
    batches = train_loader(
        dataset.splits["train"],
        config.imgsz,
        config.batch_size,
        recipe=load_recipe(config.augment),
        seed=config.seed,
        loading=Loading(loader_processes(config.workers, fabric.device), pin_memory=fabric.device.type == "cuda"),
        min_draws=config.draws,
    )
    val_batches = eval_loader(val, config.imgsz, at_once(config.batch_size, fabric.device), again=True)
    identity = {"classes": ", ".join(dataset.names), "data": fingerprint(dataset.splits["train"]), "base": learner.base}

    def save(name: str) -> None:
        trained = {key: tensor for key, tensor in detector.network.named_parameters() if tensor.requires_grad}
        save_file({key: tensor.detach().contiguous() for key, tensor in trained.items()}, out / f"{name}.safetensors")
        plain.network.load_state_dict(merged_state(detector.network))
        plain.save_checkpoint(out / f"{name}.pt")

    def validate() -> tuple[float, float]:
        return measure_map(detector, val_batches, val, dataset.names, mode="general")

    return fit(
        detector.network,
        learner.learned,
        Task(detector),
        batches,
        validate,
        save,
        config,
        fabric,
        State(out / STATE, identity, read=(out / STATE).exists()),
        Timed(clock),
    )


def peft_learner(config: TrainConfig, names: Sequence[str]) -> Learner:
    """The base with PEFT's LoRA on the layers that our adapter would change, ready for training."""
    assert config.rank != "auto", "there is no race"
    detector = with_peft(config.model, names, config.rank, config.placement or "all")
    total = sum(parameter.numel() for parameter in load_base(config.model, fold=False).network.parameters())
    trained = sum(parameter.numel() for parameter in detector.network.parameters() if parameter.requires_grad)
    counts, base = {"peft": trained}, detector.fingerprint
    return Learner(detector, detector.network, None, None, counts, total, base, "general")


def merged_state(network: nn.Module) -> dict[str, Tensor]:
    """The state of the same network without PEFT, its low-rank changes written into the weights."""
    network = copy.deepcopy(network)
    for layer in network.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
    state = network.state_dict()
    return {name.replace(".base_layer.", "."): tensor for name, tensor in state.items() if ".lora_" not in name}
