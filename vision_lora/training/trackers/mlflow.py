"""MLflow: a run in the store that MLFLOW_TRACKING_URI names, by default MLflow's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from vision_lora.training.loop.listener import Brief, Listener
from vision_lora.training.runs.summary import Summary
from vision_lora.training.trackers.aside import keep_run_name, run_name
from vision_lora.training.trackers.epochs import PICTURES, scalars

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "vision_lora"  # where MLFLOW_EXPERIMENT_NAME names no other


class Tracker(Listener):
    """Adds to one MLflow run; a resumed run goes on in the same one."""

    def __init__(self) -> None:
        from mlflow.tracking import MlflowClient

        self._make = MlflowClient
        self._client: MlflowClient | None = None
        self._run = ""
        self._ended = False

    def started(self, brief: Brief) -> None:
        client = self._make()
        known = run_name(brief.folder, "mlflow") if brief.resumed else None
        if known is not None:
            client.update_run(known, status="RUNNING")
        else:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
            there = client.get_experiment_by_name(name)
            experiment = client.create_experiment(name) if there is None else there.experiment_id
            known = client.create_run(experiment, run_name=brief.folder.name).info.run_id
            for option, value in asdict(brief.config).items():
                client.log_param(known, option, value)
            keep_run_name(brief.folder, "mlflow", known)
        self._client, self._run = client, known

    def validated(self, row: Mapping[str, float], *, best: bool) -> None:  # noqa: ARG002 - its curve shows it
        assert self._client is not None
        for name, value in scalars(row).items():
            self._client.log_metric(self._run, name, value, step=int(row["epoch"]))

    def ended(self, summary: Summary) -> None:
        assert self._client is not None
        for file in (*(summary.out / name for name in PICTURES), summary.result, summary.out / "summary.json"):
            self._client.log_artifact(self._run, str(file))
        self._client.set_terminated(self._run, "FINISHED")
        self._ended = True

    def closed(self) -> None:
        if self._client is not None and not self._ended:
            self._client.set_terminated(self._run, "KILLED")
