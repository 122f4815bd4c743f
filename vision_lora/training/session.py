"""A training session: from options to a folder with the adapter, its results and pictures of them."""

from __future__ import annotations

import csv
import io
import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import distributed as dist

from vision_lora import __version__
from vision_lora.adapters.adapter import Adapter
from vision_lora.adapters.file import save_adapter
from vision_lora.datasets.lists import write_list
from vision_lora.errors import ConfigError
from vision_lora.evaluation.measure import measure_map
from vision_lora.evaluation.parts.groups import group_pictures
from vision_lora.evaluation.report.write import write_report
from vision_lora.evaluation.split import assess
from vision_lora.options.threshold import DEFAULT_RULE
from vision_lora.options.train import TrainConfig
from vision_lora.pictures.detections import CONFIDENCE
from vision_lora.system.cores import Threads
from vision_lora.system.devices import make_fabric, peak_memory_mib
from vision_lora.system.outputs import write_json, write_text
from vision_lora.training.brief import HELD_OUT, PLAN, make_brief, plan_text
from vision_lora.training.checks import check_room
from vision_lora.training.choices.batch_size import decide
from vision_lora.training.choices.race import Race, costliest, entry
from vision_lora.training.job import Job, open_data, prepare
from vision_lora.training.loop.fit import History, fit
from vision_lora.training.loop.graphs import obstacle
from vision_lora.training.loop.listener import Listener, Listeners
from vision_lora.training.outcome import outcome
from vision_lora.training.pictures import save_curves, save_prediction_grid
from vision_lora.training.runs.failures import in_words
from vision_lora.training.runs.folder import RunFolder, resume_command
from vision_lora.training.runs.processes import GRACE, Helpers, Together
from vision_lora.training.runs.state import STATE, State
from vision_lora.training.runs.summary import RunSummary
from vision_lora.training.start import start_quietly
from vision_lora.training.trackers.aside import open_trackers

log = logging.getLogger(__name__)


def train(config: TrainConfig, listener: Listener) -> RunSummary:
    """Run a whole training session.

    Args:
        config: its options.
        listener: is told how it goes; so are the trackers that the options name.

    Raises:
        VisionLoraError: any mistake of the user; nothing has been written then.
        KeyboardInterrupt: with a line that says where the last weights are.
    """
    helpers = Helpers()
    with RunFolder(config) as folder:
        everyone = Listeners((listener, *open_trackers(folder.config.log)))
        try:
            return _train(folder, helpers, everyone)
        except KeyboardInterrupt:
            if folder.path is None or not folder.state.exists():
                raise
            last = folder.path / _file_name("last", folder.config.method)
            where = f"last weights are in {last}; " if last.exists() else ""
            raise KeyboardInterrupt(f"{where}continue with: {resume_command(folder.path)}") from None
        except RuntimeError as error:
            raise helpers.dead(GRACE) or in_words(error, folder.config, folder.path) or error from error
        finally:
            everyone.closed()
            helpers.stop()
            if dist.is_initialized():
                dist.destroy_process_group()


def help_to_train(config: TrainConfig, out: Path, layers: Sequence[str] | None, *, goes_on: bool) -> None:
    """Take part in a session that another process runs.

    Args:
        config: the run's options.
        out: its folder.
        layers: to adapt, where they have been chosen.
        goes_on: whether it goes on from the state in its folder.
    """
    threads = Threads(config.threads, processes=config.devices)
    fabric = make_fabric(config.device, config.precision, config.devices, Together(None))
    data = open_data(config)
    job = prepare(data, fabric, layers)
    fabric.launch()
    try:
        _learn(job, fabric, State(out / STATE, data.identity, read=goes_on), out, Listener(), threads)
    except RuntimeError as error:
        raise in_words(error, config, out) or error from error


def _train(folder: RunFolder, helpers: Helpers, listener: Listener) -> RunSummary:
    config = folder.config
    listener.opening()
    threads = Threads(config.threads, processes=config.devices)
    fabric = make_fabric(config.device, config.precision, config.devices, Together(helpers))
    data = open_data(config)
    state = _state_to_go_on_from(folder, data.identity, refuse=folder.resumed)
    races = config.rank == "auto"
    if races:  # the batch has to fit whoever wins
        data = replace(data, config=replace(config, **asdict(costliest())))
    config, batch = decide(data, fabric.device, None if state is None else state.batch)
    if races:
        config = replace(config, **asdict(entry(state)))
    data = replace(data, config=config)
    job = prepare(data, fabric, None if state is None else state.layers)
    learner = job.learner
    state = _state_to_go_on_from(folder, job.identity, refuse=folder.resumed) if state is not None else None
    check_room(folder.path or Path(config.out), learner.learned, sum(learner.counts.values()))
    out = folder.begin(anew=state is None)
    if learner.plan is not None:
        write_text(out / PLAN, plan_text(job))
    if data.opened.held_out:
        write_list(out / HELD_OUT, data.opened.held_out)
    listener.started(make_brief(job, fabric, out, _ungraphed(job, fabric), batch, resumed=state is not None))
    if job.replay is not None and learner.adapter is not None and config.quiet and state is None:
        start_quietly(learner.detector, learner.adapter, job.replay.whole(), job.batches.whole())
    helpers.out = out
    helpers.order = {"config": asdict(config), "out": str(out), "layers": job.layers, "goes_on": state is not None}
    fabric.launch()
    state = state or State(out / STATE, job.identity, job.layers, config.batch_size)
    chosen = ""
    try:
        if races:
            race = Race(config.epochs, state, out)
            job, chosen = race.run(
                job,
                lambda entered, place: _learn(entered, fabric, state, place, listener, threads, until=race.laps),
                listener.noted,
            )
            write_text(out / PLAN, plan_text(job))  # the winner's
        history = _learn(job, fabric, state, out, listener, threads)
    except torch.cuda.OutOfMemoryError as error:
        raise in_words(error, config, out) or error from error
    summary = _report(job, fabric, history, out, chosen)
    state.file.unlink()  # only an interrupted run has something to resume
    listener.ended(summary)
    return summary


def _learn(
    job: Job,
    fabric: Fabric,
    state: State,
    out: Path,
    listener: Listener,
    threads: Threads,
    *,
    until: int | None = None,
) -> History:
    """Train, to an epoch or to the end; the first process writes the weights into the folder."""
    learner = job.learner
    detector, adapter = learner.detector, learner.adapter

    def save(name: str) -> None:
        if not fabric.is_global_zero:
            return
        file = out / _file_name(name, job.config.method)
        if adapter is not None:
            save_adapter(_stamped(adapter, {}), file)
        else:
            detector.save_checkpoint(file)

    def validate() -> tuple[float, float]:
        return measure_map(detector, job.val_batches, job.opened.val, job.names, mode=learner.mode)

    return fit(
        detector.network,
        learner.learned,
        job.objective,
        job.batches,
        validate,
        save,
        job.config,
        fabric,
        state,
        listener,
        graphed=not _ungraphed(job, fabric),
        threads=threads,
        until=until,
    )


def _ungraphed(job: Job, fabric: Fabric) -> str:
    """Why steps are not captured in CUDA graphs; empty where they are."""
    return obstacle(job.learner.detector, fabric) if job.config.graphs == "auto" else "off"


def _report(job: Job, fabric: Fabric, history: History, out: Path, chosen: str) -> RunSummary:
    """Write what the run gave: what is reported is what the file gives, not what happens to be in memory."""
    device = fabric.device
    config, learner, opened, names = job.config, job.learner, job.opened, job.names
    best = out / _file_name("best", config.method)
    given = outcome(job, best, history.rows[history.best_epoch - 1], device)
    groups = group_pictures("picture", opened.val, opened.val)
    one, limits = assess(None, given.found, opened.val, given.result, rule=DEFAULT_RULE, split="val", groups=groups)
    for line in limits.unreached:
        log.warning("no threshold for %s: %g counts", line, CONFIDENCE)
    if given.adapter is not None:
        scores = {"map50_95": given.result.map50_95, "map50": given.result.map50}
        metrics = {"split": "val", **scores, "epochs": len(history.rows), **({"chosen": chosen} if chosen else {})}
        stamped = _stamped(given.adapter, metrics).with_thresholds(limits.thresholds, one.rule)
        save_adapter(stamped, best, dtype=given.dtype)
    summary = RunSummary(
        out=out,
        result=best,
        model=config.model,
        val=given.result,
        rule=one.rule,
        thresholds=limits.thresholds,
        method=config.method,
        chosen=chosen,
        rank=config.rank,
        norm=config.norm,
        epochs=len(history.rows),
        best_epoch=history.best_epoch,
        steps=len(history.seconds),
        trainable_parameters=sum(learner.counts.values()),
        total_parameters=learner.total,
        parameters_by_part=dict(learner.counts),
        adapter_bytes=best.stat().st_size,
        seconds_per_step=history.seconds_per_step,
        images_per_second=history.rows[-1]["images_per_second"],
        peak_memory_mib=peak_memory_mib(device),
        base=learner.detector.base if learner.adapter is not None else Path(config.model).name,
        base_fingerprint=learner.base,
        names=tuple(names),
        images={"train": len(opened.train), "val": len(opened.val)},
        skipped=tuple(str(problem) for problem in (*opened.problems, *job.batches.problems)),
        batch=config.batch_size,
        lr=config.peak_lr,
        ema=config.ema,
        imgsz=config.imgsz,
        seed=config.seed,
        device=str(device),
        precision=str(fabric._precision.precision),
        graphs=_ungraphed(job, fabric) or True,
        versions={"vision_lora": __version__, "torch": torch.__version__, "python": platform.python_version()},
    )
    write_json(out / "summary.json", summary.to_json())
    _write_csv(out / "results.csv", history.rows)
    save_curves(out / "curves.png", history.rows)
    write_report(one, out / "report", f"Training on {opened.dataset.source}: val", [f"val at {config.imgsz} px"])
    save_prediction_grid(out / "predictions.png", opened.val, given.found, names, limits.thresholds)
    return summary


def _state_to_go_on_from(folder: RunFolder, identity: Mapping[str, str], *, refuse: bool) -> State | None:
    """The state of the interrupted run in the folder.

    Args:
        folder: of the run.
        identity: as far as it is known.
        refuse: raise where it is the state of another run, instead of beginning anew.
    """
    if folder.path is None:
        return None
    try:
        return State(folder.path / STATE, identity, read=True)
    except ConfigError:
        if refuse:
            raise
        return None


def _file_name(name: str, method: str) -> str:
    if method != "lora":
        return f"{name}.pt"
    return "adapter.safetensors" if name == "best" else "last.safetensors"


def _stamped(adapter: Adapter, metrics: Mapping[str, Any]) -> Adapter:
    return adapter.with_metrics(metrics, datetime.now(timezone.utc).isoformat(timespec="seconds"), __version__)


def _write_csv(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    with io.StringIO(newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in rows)
        write_text(path, file.getvalue())
