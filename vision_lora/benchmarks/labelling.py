"""Whether an adapter gets better sooner with pictures that `propose` chooses than with random ones.

    python -m vision_lora.benchmarks.labelling --data data_grouped.yaml --model yolo11n.pt

Of the train split only some random pictures have labels at first. In each round an adapter is trained on what is
labelled, from nothing, and measured on test; then more pictures are labelled: those that `propose` chooses with this
adapter, or random ones. Both rules begin with the same pictures and the same adapter. Where `propose` passes over so
many near-copies that too few are left, random ones are added: both rules always have as many.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from vision_lora.datasets.batches.loader import eval_loader
from vision_lora.datasets.open import open_dataset
from vision_lora.datasets.sample import Dataset, Sample
from vision_lora.datasets.write import write_coco, yolo_yaml
from vision_lora.detectors.load import load_detector
from vision_lora.errors import DataError
from vision_lora.evaluation.measure import measure
from vision_lora.evaluation.proposal.rank import rank
from vision_lora.options import common
from vision_lora.options.command_line import run_verb
from vision_lora.options.option import Options, option
from vision_lora.options.train import TrainConfig
from vision_lora.system.outputs import check_file, write_json, write_text
from vision_lora.training.loop.listener import Listener
from vision_lora.training.session import train

RULES = ("propose", "random")


@dataclass(frozen=True)
class LabellingConfig(Options):
    """Compare labelling what `propose` chooses with labelling random pictures."""

    data: str = option("", f"{common.DATA}, with train, val and test", required=common.A_DATASET)
    model: str = option("starter", common.BASE)
    pictures: int = option(10, "pictures a class that are labelled at first, and in each round", at_least=1)
    rounds: int = option(3, "rounds", at_least=1)
    seeds: int = option(3, "seeds, from 0: of what is labelled at first, what is random, and the trainings", at_least=1)
    epochs: int = option(TrainConfig.epochs, "epochs of each training", at_least=1)
    imgsz: int = common.side(TrainConfig.imgsz, common.OWN_SIZE, "recipe", apart=0)
    threads: int = common.threads("CPU threads that compute")
    device: str = option("auto", common.DEVICE, "speed")
    json: str | None = option(None, "file for each seed's mAP as JSON", "output")


@dataclass(frozen=True)
class Row:
    """One adapter.

    Attributes:
        seed: of the run.
        rule: by which pictures were chosen.
        pictures: that it was trained on.
        map50_95: on test, 0 to 1.
        map50: on test, 0 to 1.
    """

    seed: int
    rule: str
    pictures: int
    map50_95: float
    map50: float


def run(config: LabellingConfig, console: Console) -> None:
    """Measure and print."""
    target = check_file("json", config.json)
    dataset = open_dataset(config.data).sure()
    if missing := {"train", "val", "test"} - dataset.splits.keys():
        raise DataError(f"{config.data}: no {' and no '.join(sorted(missing))} split; expected train, val and test")
    more = config.pictures * len(dataset.names)
    pool = dataset.splits["train"]
    if len(pool) < more * (1 + config.rounds):
        raise DataError(
            f"{config.data}: {len(pool)} pictures in train; --pictures {config.pictures} --rounds {config.rounds} "
            f"needs {more * (1 + config.rounds)}"
        )
    rows: list[Row] = []
    for seed in range(config.seeds):
        with tempfile.TemporaryDirectory() as folder:
            rows += _run_of(config, dataset, seed, Path(folder), console)
    for count in sorted({row.pictures for row in rows}):
        console.print(_line(rows, count))
    if target is not None:
        write_json(target, {"config": asdict(config), "rows": [asdict(row) for row in rows]})


def _run_of(config: LabellingConfig, dataset: Dataset, seed: int, folder: Path, console: Console) -> list[Row]:
    """All adapters of one seed."""
    pool, more = dataset.splits["train"], config.pictures * len(dataset.names)
    random = np.random.default_rng(seed)
    first = random.permutation(len(pool))[:more].tolist()
    first_adapter = _train(config, dataset, [pool[place] for place in first], seed, folder / "first")
    rows = []
    for rule in RULES:
        labelled, adapter = list(first), first_adapter
        for number in range(config.rounds + 1):
            if number:
                rest = sorted(set(range(len(pool))) - set(labelled))
                proposed = [] if rule == "random" else _proposed(config, adapter, pool, labelled, rest, more)
                others = random.permutation(sorted(set(rest) - set(proposed))).tolist()
                labelled += [*proposed, *others][:more]
                chosen = [pool[place] for place in labelled]
                adapter = _train(config, dataset, chosen, seed, folder / f"{rule}-{number}")
            rows.append(_measured(config, dataset, adapter, seed, rule, len(labelled)))
            console.print(f"seed {seed}, {rule}, {len(labelled)} pictures: mAP50-95 {rows[-1].map50_95:.3f}")
    return rows


def _proposed(
    config: LabellingConfig, adapter: Path, pool: Sequence[Sample], labelled: list[int], rest: list[int], count: int
) -> list[int]:
    """Places in the pool of what `propose` chooses."""
    detector = load_detector(config.model, str(adapter), config.device)
    without, known = [pool[place] for place in rest], [pool[place] for place in labelled]
    ranked = rank(detector, without, known, count=count, imgsz=detector.imgsz, batch=8)
    places = {sample.path: place for place, sample in zip(rest, without, strict=True)}
    return [places[one.sample.path] for one in ranked.proposals]


def _train(config: LabellingConfig, dataset: Dataset, samples: Sequence[Sample], seed: int, folder: Path) -> Path:
    """Train an adapter; gives its file."""
    folder.mkdir(parents=True)
    splits = {"train": samples, "val": dataset.splits["val"]}
    root = os.path.commonpath([os.path.dirname(os.path.realpath(one.path)) for part in splits.values() for one in part])
    for split, part in splits.items():
        write_coco(folder / f"{split}.json", part, dataset.names, root)
    listed = {split: {"json": f"{split}.json", "images": root} for split in splits}
    write_text(folder / "data.yaml", yolo_yaml(listed, dataset.names))
    options = TrainConfig(
        data=str(folder / "data.yaml"),
        model=config.model,
        epochs=config.epochs,
        imgsz=config.imgsz,
        seed=seed,
        threads=config.threads,
        device=config.device,
        out=str(folder / "run"),
    )
    return train(options, Listener()).result


def _measured(config: LabellingConfig, dataset: Dataset, adapter: Path, seed: int, rule: str, pictures: int) -> Row:
    detector = load_detector(config.model, str(adapter), config.device)
    test = dataset.splits["test"]
    result, _ = measure(detector, eval_loader(test, detector.imgsz, 8), test, dataset.names, mode="defects")
    return Row(seed, rule, pictures, result.map50_95, result.map50)


def _line(rows: Sequence[Row], count: int) -> str:
    """Means over the seeds, and the mean of the differences with their standard deviation."""
    ours, random = ([row.map50_95 for row in rows if (row.rule, row.pictures) == (rule, count)] for rule in RULES)
    ahead = [one - other for one, other in zip(ours, random, strict=True)]
    spread = f" ± {statistics.stdev(ahead):.3f}" if len(ahead) > 1 else ""
    means = f"{statistics.fmean(ours):.3f} by propose, {statistics.fmean(random):.3f} at random"
    difference = f"{statistics.fmean(ahead):+.3f}{spread} (standard deviation over {len(ahead)} seeds)"
    return f"{count} pictures: mAP50-95 {means}; difference {difference}"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(LabellingConfig, "benchmarks.labelling", run, argv)


if __name__ == "__main__":
    sys.exit(main())
