"""Trackers read back with their own readers: an interrupted run and its second half are one run there."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training import tiny
from vision_lora.pictures.images import read_image

EPOCHS = 3


class CutError(BaseException):
    """Ends a run in its second epoch."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where trackers keep what is theirs; nothing of it leaves this machine."""
    root = tmp_path_factory.mktemp("trackers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", (root / "mlflow").as_uri())
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database needs more than mlflow-skinny
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("WANDB_MODE", "offline")
        yield root


def trained(place: Path, tracker: str) -> Path:
    """The folder of a run that was cut off in its second epoch and resumed."""
    out = place / tracker
    if not out.exists():

        def cut(epoch: int, _: int) -> None:
            if epoch == 2:
                raise CutError

        config = tiny.options(tiny.data(place / f"{tracker} data"), out, log=tracker, epochs=EPOCHS)
        with pytest.raises(CutError):
            tiny.run(config, tiny.Watch(cut))
        tiny.resume(out)
    return out


def rows(out: Path) -> list[dict[str, float]]:
    with (out / "results.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def expected(out: Path) -> dict[str, list[float]]:
    """What `results.csv` says, by the names that trackers use."""
    columns = {name: [row[name] for row in rows(out)] for name in rows(out)[0]}
    named = {f"loss/{name}": columns[name] for name in ("box", "cls", "dfl")}
    named |= {f"val/{name}": columns[name] for name in ("map50_95", "map50")}
    return named | {name: columns[name] for name in ("lr", "images_per_second")}


def same(found: dict[str, dict[int, float]], out: Path) -> bool:
    """Whether each number of each epoch is there, and no other."""
    wanted = {name: dict(enumerate(values, 1)) for name, values in expected(out).items()}
    assert found.keys() == wanted.keys()
    return all(found[name] == pytest.approx(wanted[name], rel=1e-4, abs=1e-9) for name in wanted)


def test_tensorboard(place: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = trained(place, "tensorboard")
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    found = {name: {event.step: event.value for event in events.Scalars(name)} for name in tags["scalars"]}
    assert same(found, out)
    assert sorted(tags["images"]) == ["curves.png", "predictions.png"]
    image = events.Images("predictions.png")[0]
    assert (image.height, image.width) == read_image(out / "predictions.png").shape[:2]
    text = events.Tensors("options/text_summary")
    assert len(text) == 1, "options are told once"
    assert b"| rank | `2` |" in text[0].tensor_proto.string_val[0]


def test_mlflow(place: Path) -> None:
    pytest.importorskip("mlflow.tracking", reason="no mlflow")
    from mlflow.tracking import MlflowClient

    out = trained(place, "mlflow")
    client = MlflowClient()
    experiment = client.get_experiment_by_name("vision_lora")
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"], "the second half is no run of its own"
    run = runs[0]
    assert run.info.run_name == out.name
    assert (run.data.params["rank"], run.data.params["imgsz"], run.data.params["placement"]) == ("2", "64", "head")
    found = {
        name: {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, name)}
        for name in run.data.metrics
    }
    assert same(found, out)
    kept = client.download_artifacts(run.info.run_id, "")
    for name in ("adapter.safetensors", "predictions.png", "curves.png", "summary.json"):
        assert (Path(kept) / name).read_bytes() == (out / name).read_bytes()


def test_mlflow_knows_a_run_that_did_not_end(place: Path) -> None:
    pytest.importorskip("mlflow.tracking", reason="no mlflow")
    from mlflow.tracking import MlflowClient

    def cut(_: int, __: int) -> None:
        raise CutError

    out = place / "cut"
    with pytest.raises(CutError):
        tiny.run(tiny.options(tiny.data(place / "cut data"), out, log="mlflow"), tiny.Watch(cut))
    run = json.loads((out / "trackers.json").read_text())["mlflow"]
    assert MlflowClient().get_run(run).info.status == "KILLED"


def test_wandb(place: Path) -> None:
    """Its files are read as bytes: the library has no reader of them."""
    pytest.importorskip("wandb", reason="no wandb")
    out = trained(place, "wandb")
    files = sorted((out / "wandb").glob("offline-run-*/*.wandb"))
    run = json.loads((out / "trackers.json").read_text())["wandb"]
    assert [file.name for file in files] == [f"run-{run}.wandb"] * 2, "both halves are one run"
    first, second = (file.read_bytes() for file in files)
    for name in expected(out):
        assert name.encode() in first
        assert name.encode() in second
    assert b"predictions.png" in second
    assert b"adapter.safetensors" in second
