"""A training session: from options to a folder with the adapter, its results and pictures of them."""

from __future__ import annotations

import csv
import json
import platform
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

import lightning_fabric
import torch

from vision_lora import __version__
from vision_lora.adapters.adapter import Adapter
from vision_lora.adapters.file import load_adapter, save_adapter
from vision_lora.adapters.plan import Plan
from vision_lora.config import TrainConfig
from vision_lora.datasets.augment import load_recipe
from vision_lora.datasets.demo.write import ensure_demo
from vision_lora.datasets.loader import TrainLoader, eval_loader, train_loader
from vision_lora.datasets.sample import Dataset, own_size
from vision_lora.detectors.base import Detector
from vision_lora.devices import make_fabric
from vision_lora.errors import ConfigError
from vision_lora.evaluation.measure import measure
from vision_lora.evaluation.report import save_curves, save_prediction_grid
from vision_lora.outputs import new_folder, write_json
from vision_lora.placement import placement_for
from vision_lora.training.budget import choose_layers
from vision_lora.training.fit import Listener, Silent, fit
from vision_lora.training.graphs import obstacle
from vision_lora.training.methods import TEACHER, Learner, make_learner
from vision_lora.training.objective import Objective, Task
from vision_lora.training.replay import replay_loader
from vision_lora.training.retain import Retaining
from vision_lora.training.samples import open_samples
from vision_lora.training.start import start_quietly


class Audience(Listener, Protocol):
    """Who follows a whole session."""

    def started(self, plan: Plan | None, counts: Mapping[str, int], total: int, dataset: Dataset, out: Path) -> None:
        """Before the first step: the plan (None in full fine-tuning), what trains by part, and the size of the base."""


@dataclass(frozen=True)
class Summary:
    """What `summary.json` holds, and where the results lie."""

    out: Path
    result: Path
    values: dict[str, Any]


def train(config: TrainConfig, audience: Audience) -> Summary | None:
    """Run a whole training session.

    Returns:
        What the run gave; None in the helping processes of a run on several devices.

    Raises:
        VisionLoraError: any mistake of the user; nothing has been written then.
        KeyboardInterrupt: with a line that says where the last weights are.
    """
    config, out = _resumed(config) if config.resume else (config, None)
    recipe = load_recipe(config.augment)
    ensure_demo(config.data)
    fabric = make_fabric(config.device, config.precision, config.devices)
    fabric.launch()
    lightning_fabric.seed_everything(config.seed, verbose=False)
    opened = open_samples(config)
    names = opened.dataset.names
    config = replace(
        config,
        imgsz=config.imgsz or own_size(opened.train),
        placement=config.placement or placement_for(len(opened.train)),
    )
    batches = train_loader(
        opened.train,
        config.imgsz,
        config.batch,
        recipe=recipe,
        seed=config.seed,
        workers=config.workers,
        strict=config.strict,
        balanced=config.balanced,
        min_draws=config.draws,
        pin_memory=fabric.device.type == "cuda",
        shard=(fabric.global_rank, fabric.world_size),
    )
    layers = None if config.budget is None else choose_layers(config, names, batches, fabric.device)
    learner = make_learner(config, names, fabric.broadcast(layers))
    detector, adapter = learner.detector, learner.adapter
    replay = None
    if adapter is not None and (config.joint or config.quiet):
        replay = replay_loader(config, detector.side, len(batches), fabric)
    val_batches = eval_loader(opened.val, config.imgsz, config.batch)
    if fabric.is_global_zero:
        out = out or _begin(config)
        audience.started(learner.plan, learner.counts, learner.total, opened.dataset, out)
    out = fabric.broadcast(out)
    assert out is not None
    state_file = out / "state.pt"
    if config.quiet and adapter is not None and replay is not None and not state_file.exists():
        start_quietly(detector, adapter, replay, batches)  # a run that goes on has its factors already
    objective = _objective(config, learner, names, replay)
    graphed = config.graphs == "auto" and not obstacle(detector, fabric)

    files = {name: out / _file_name(name, config.method) for name in ("best", "last")}

    def save(name: str) -> None:
        if not fabric.is_global_zero:
            return
        if adapter is not None:
            save_adapter(_stamped(adapter, {}), files[name])
        else:
            detector.save_checkpoint(files[name])

    def validate() -> tuple[float, float]:
        result, _ = measure(detector, val_batches, opened.val, names, mode=learner.mode)
        return result.map50_95, result.map50

    try:
        listener = audience if fabric.is_global_zero else Silent()
        history = fit(
            detector.network,
            learner.learned,
            objective,
            batches,
            validate,
            save,
            config,
            fabric,
            state_file,
            listener,
            graphed=graphed,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"last weights are in {files['last']}; continue with: python -m vision_lora.train --resume {out}"
        ) from None

    if not fabric.is_global_zero:
        return None

    # What is reported is what the file gives, not what happens to be in memory.
    trained = _reopened(learner, files["best"], fabric.device)
    result, found = measure(trained, val_batches, opened.val, names, mode=learner.mode)
    if trained.adapter is not None:
        metrics = {"split": "val", "map50_95": result.map50_95, "map50": result.map50, "epochs": len(history.rows)}
        save_adapter(_stamped(trained.adapter, metrics), files["best"])
    values = {
        **result.to_json(),
        "split": "val",
        "method": config.method,
        "epochs": len(history.rows),
        "best_epoch": history.best_epoch,
        "steps": len(history.seconds),
        "trainable_parameters": sum(learner.counts.values()),
        "total_parameters": learner.total,
        "parameters_by_part": dict(learner.counts),
        "adapter_bytes": files["best"].stat().st_size,
        "seconds_per_step": history.seconds_per_step,
        "images_per_second": history.rows[-1]["images_per_second"],
        "peak_memory_mib": _peak_memory_mib(fabric.device),
        "base": detector.base if adapter is not None else Path(config.model).name,
        "base_fingerprint": learner.base,
        "names": list(names),
        "images": {"train": len(opened.train), "val": len(opened.val)},
        "skipped": [str(problem) for problem in (*opened.problems, *batches.problems)],
        "lr": config.peak_lr,
        "imgsz": config.imgsz,
        "seed": config.seed,
        "device": str(fabric.device),
        "precision": str(fabric._precision.precision),
        "graphs": graphed or obstacle(detector, fabric) or "off",
        "versions": {"vision_lora": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    write_json(out / "summary.json", values)
    _write_csv(out / "results.csv", history.rows)
    save_curves(out / "curves.png", history.rows)
    save_prediction_grid(out / "predictions.png", opened.val, found, names)
    state_file.unlink()  # only an interrupted run has something to resume
    return Summary(out, files["best"], values)


def _objective(config: TrainConfig, learner: Learner, names: Sequence[str], replay: TrainLoader | None) -> Objective:
    """What training makes small: the task's losses, in a joint run with the distance from the teacher."""
    detector = learner.detector
    if learner.adapter is None:
        return Task(detector, len(detector.names) - len(names))
    if not config.joint or replay is None:
        return Task(detector, 0)
    return Retaining(detector, replay, config.retain_weight, None if config.on is None else TEACHER)


def _reopened(learner: Learner, file: Path, device: torch.device) -> Detector:
    """The detector with what was written to a file in place of what was trained."""
    if learner.adapter is None:
        detector = Detector.load(str(file))
        detector.to(device)
        return detector
    detector = learner.detector
    detector.adapters.detach()
    detector.attach(load_adapter(file).to(device))
    return detector


def _resumed(config: TrainConfig) -> tuple[TrainConfig, Path]:
    """Options and folder of an interrupted run."""
    out = Path(config.resume or "")
    if not (out / "state.pt").is_file() or not (out / "config.json").is_file():
        raise ConfigError(f"--resume {out}: no interrupted run there; expected a folder with config.json and state.pt")
    values = json.loads((out / "config.json").read_text(encoding="utf-8"))
    return replace(TrainConfig(**values), resume=None), out


def _begin(config: TrainConfig) -> Path:
    """A folder with the options written down; an interrupted run there goes on if it had the same ones."""
    out = new_folder(config.out, exist_ok=config.exist_ok)
    file, state = out / "config.json", out / "state.pt"
    options = {item.name: getattr(config, item.name) for item in fields(config)}
    before = json.loads(file.read_text(encoding="utf-8")) if state.exists() and file.is_file() else {}
    place = {"out": config.out, "exist_ok": config.exist_ok}  # it is this folder, however it was named
    if {**before, **place} != options:
        state.unlink(missing_ok=True)
    write_json(file, options)
    return out


def _file_name(name: str, method: str) -> str:
    if method != "lora":
        return f"{name}.pt"
    return "adapter.safetensors" if name == "best" else "last.safetensors"


def _stamped(adapter: Adapter, metrics: Mapping[str, Any]) -> Adapter:
    return adapter.with_metrics(metrics, datetime.now(timezone.utc).isoformat(timespec="seconds"), __version__)


def _write_csv(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in rows)


def _peak_memory_mib(device: torch.device) -> float:
    """Most memory so far: on a GPU what tensors took there, else what the process had resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
