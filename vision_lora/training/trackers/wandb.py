"""Weights & Biases: a run in the project that WANDB_PROJECT names; WANDB_MODE=offline keeps it on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from vision_lora.training.loop.listener import Brief, Listener
from vision_lora.training.runs.summary import Summary
from vision_lora.training.trackers.aside import keep_run_name, run_name
from vision_lora.training.trackers.epochs import PICTURES, scalars

PROJECT = "vision_lora"  # where WANDB_PROJECT names no other


class Tracker(Listener):
    """Adds to one run; a resumed run goes on in the same one."""

    def __init__(self) -> None:
        import wandb

        self._wandb = wandb
        self._run: Any = None

    def started(self, brief: Brief) -> None:
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=brief.folder.name,
            dir=str(brief.folder),
            config=asdict(brief.config),
            id=run_name(brief.folder, "wandb") if brief.resumed else None,
            resume="allow",
        )
        keep_run_name(brief.folder, "wandb", self._run.id)

    def validated(self, row: Mapping[str, float], *, best: bool) -> None:  # noqa: ARG002 - its curve shows it
        self._run.log(scalars(row), step=int(row["epoch"]))

    def ended(self, summary: Summary) -> None:
        self._run.log({name: self._wandb.Image(str(summary.out / name)) for name in PICTURES})
        artefact = self._wandb.Artifact(f"adapter-{self._run.id}", type="model", metadata={"base": summary.model})
        artefact.add_file(str(summary.result))
        self._run.log_artifact(artefact)

    def closed(self) -> None:
        if self._run is not None:
            self._run.finish()
