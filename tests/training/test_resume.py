"""A resumed run is the uninterrupted one, whenever it was ended; and it is refused where it is not the same run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.datasets.build import picture
from tests.training import tiny
from vision_lora.errors import ConfigError, TrainingError
from vision_lora.training import session
from vision_lora.training.loop import learning
from vision_lora.training.runs.state import STATE, State, fingerprint

pytestmark = pytest.mark.usefixtures("without_plots")


class Killed(BaseException):
    """Ends a run without its having a say, as SIGKILL does."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody interrupted; its data lies beside it."""
    root = tmp_path_factory.mktemp("whole")
    tiny.run(tiny.options(tiny.data(root / "data"), root / "run"))
    return root / "run"


@pytest.fixture(scope="module")
def cut(whole: Path) -> Path:
    """The same run, ended in its second epoch; what is done to it is done to a copy."""

    def end(epoch: int, _: int) -> None:
        if epoch == 2:
            raise Killed

    out = whole.parent / "cut"
    with pytest.raises(Killed):
        tiny.run(tiny.options(whole.parent / "data" / "data.yaml", out), tiny.Watch(end))
    return out


def kill_at(number: int, call: Callable[..., object], *, before: bool) -> Callable[..., object]:
    """A call that ends the run when it is made for the n-th time, before or after doing its work."""
    calls = 0

    def wrapped(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == number and before:
            raise Killed
        result = call(*args, **kwargs)
        if calls == number:
            raise Killed
        return result

    return wrapped


# The n-th call of what, and whether before its work. The first state is that before the first step.
POINTS = {
    "in the first epoch": (session, "measure_map", 1, True),
    "in a validation": (session, "measure_map", 2, True),
    "between the best weights and the state": (State, "save", 2, True),
    "after the state": (State, "save", 3, False),
    "after the last epoch, before the summary": (session, "_report", 1, True),
}


@pytest.mark.parametrize("point", POINTS)
def test_it_ends_with_the_same_bits(point: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, name, number, before = POINTS[point]
    config = tiny.options(whole.parent / "data" / "data.yaml", tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(place, name, kill_at(number, getattr(place, name), before=before))
        with pytest.raises(Killed):
            tiny.run(config)
    tiny.resume(tmp_path / "run")
    assert tiny.same(tmp_path / "run", whole)
    assert not (tmp_path / "run" / STATE).exists()


def test_random_draws_go_on_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that draws random numbers, as denoising and dropout do, and worker processes, which need seeds."""
    forward = learning.Step.forward

    def noisy(self: learning.Step, *args: object, **options: bool) -> dict[str, torch.Tensor]:
        losses = forward(self, *args, **options)  # type: ignore[arg-type]
        return {name: loss * torch.rand(()) for name, loss in losses.items()}

    monkeypatch.setattr(learning.Step, "forward", noisy)
    dataset = tiny.data(tmp_path / "data")
    tiny.run(tiny.options(dataset, tmp_path / "whole", workers=1))
    with monkeypatch.context() as patch:
        patch.setattr(State, "save", kill_at(2, State.save, before=False))
        with pytest.raises(Killed):
            tiny.run(tiny.options(dataset, tmp_path / "cut", workers=1))
    tiny.resume(tmp_path / "cut")
    assert tiny.same(tmp_path / "cut", tmp_path / "whole")


def test_a_run_that_patience_ended_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the state of its last epoch and its summary: no epoch more."""
    config = tiny.options(tiny.data(tmp_path / "data"), tmp_path / "run", epochs=9, patience=1, lr=1e-9)
    ends = iter([(0.5, 0.5), (0.4, 0.4)])
    with monkeypatch.context() as patch:
        patch.setattr(session, "_report", kill_at(1, session._report, before=True))
        patch.setattr(session, "measure_map", lambda *_, **__: next(ends))
        with pytest.raises(Killed):
            tiny.run(config)
    watch = tiny.Watch()
    assert tiny.resume(tmp_path / "run", watch).epochs == 2
    assert watch.epochs == []


def test_advice_before_the_first_state_is_not_to_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(State, "save", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        tiny.run(tiny.options(tiny.data(tmp_path / "data"), tmp_path / "run"))
    assert "--resume" not in str(caught.value)
    with pytest.raises(ConfigError, match="no interrupted run there"):
        tiny.resume(tmp_path / "run")


def test_advice_in_the_first_epoch_works_as_it_stands(tmp_path: Path) -> None:
    """Its folder's name has a space."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        tiny.run(tiny.options(tiny.data(tmp_path / "data"), tmp_path / "a run", epochs=1), tiny.Watch(interrupt))
    assert str(caught.value).endswith(f"--resume '{tmp_path / 'a run'}'")
    assert (tmp_path / "a run" / "last.safetensors").is_file()
    assert tiny.resume(tmp_path / "a run").epochs == 1


def _names(names: str) -> Callable[[Path, Path], object]:
    """The data's classes are called something else."""

    def change(_: Path, data: Path) -> None:
        lines = (data / "data.yaml").read_text().splitlines()
        (data / "data.yaml").write_text("\n".join(f"names: {names}" if "names" in line else line for line in lines))

    return change


def _option(run: Path, **options: object) -> None:
    """Written into the options of the interrupted run."""
    values = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**values, **options}))


def _renamed(_: Path, data: Path) -> None:
    for kind, end in (("images", "png"), ("labels", "txt")):
        (data / kind / "train" / f"0.{end}").rename(data / kind / "train" / f"9.{end}")


def _cut_off(out: Path, _: Path) -> None:
    (out / STATE).write_bytes((out / STATE).read_bytes()[:5000])


CHANGES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "the order of the classes": (_names("[dent, scratch]"), "other classes .scratch, dent; now dent, scratch"),
    "a class more": (_names("[scratch, dent, pit]"), "other classes"),
    "a class renamed": (_names("[scratch, bump]"), "other classes"),
    "a picture": (lambda _, data: picture(data / "images/train/3.png", seed=99), "other data"),
    "a box": (lambda _, data: (data / "labels/train/3.txt").write_text("1 0.5 0.5 0.2 0.2\n"), "other data"),
    "a picture more": (lambda _, data: picture(data / "images/train/8.png"), "other data"),
    "a picture renamed": (_renamed, "other data"),
    "a state cut off": (_cut_off, "cannot be read"),
    "a state of something else": (lambda out, _: torch.save([1], out / STATE), "cannot be read|not the state"),
    "an option of another version": (lambda out, _: _option(out, growth=1), "does not know .growth"),
    "an option of the wrong type": (lambda out, _: _option(out, epochs="many"), "no options"),
    "options cut off": (lambda out, _: (out / "config.json").write_text("{"), "cannot be read"),
    "the base": (lambda out, _: _option(out, model="yolo11n.yaml"), "other base"),
    "the recipe": (lambda out, _: _option(out, augment="none"), "other augmentation"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_run_is_refused_before_anything_of_it_is_used(
    change: str, whole: Path, cut: Path, tmp_path: Path
) -> None:
    shutil.copytree(cut, tmp_path / "run")
    shutil.copytree(whole.parent / "data", tmp_path / "data")
    _option(tmp_path / "run", data=str(tmp_path / "data" / "data.yaml"))
    apply, message = CHANGES[change]
    apply(tmp_path / "run", tmp_path / "data")
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    with pytest.raises(ConfigError, match=message):
        tiny.resume(tmp_path / "run")
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before


def test_data_that_lies_elsewhere_is_the_same(whole: Path, cut: Path, tmp_path: Path) -> None:
    """Copied without its times."""
    shutil.copytree(cut, tmp_path / "run")
    shutil.copytree(whole.parent / "data", tmp_path / "moved", copy_function=shutil.copyfile)
    _option(tmp_path / "run", data=str(tmp_path / "moved" / "data.yaml"))
    summary = tiny.resume(tmp_path / "run")
    assert summary.model == "starter"  # for the hint of what comes next, which names no option of --resume's
    assert tiny.same(tmp_path / "run", whole)


def test_another_version_is_another_run(cut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vision_lora.training.job.__version__", "99.0")
    with pytest.raises(ConfigError, match=r"other versions .*now vision_lora 99\.0"):
        tiny.resume(cut)


def test_options_beside_resume_are_not_dropped(cut: Path) -> None:
    config = tiny.replace(tiny.options(cut.parent / "data" / "data.yaml", cut), resume=str(cut), epochs=50)
    with pytest.raises(ConfigError, match=r"--epochs 50: the run .* was started with 3"):
        tiny.run(config)


def test_exist_ok_begins_anew_where_the_data_is_not_the_same(cut: Path, whole: Path, tmp_path: Path) -> None:
    """Nobody asked to go on; and with the same data it does."""
    shutil.copytree(cut, tmp_path / "run")
    shutil.copytree(whole.parent / "data", tmp_path / "data")
    config = tiny.options(tmp_path / "data" / "data.yaml", tmp_path / "run", exist_ok=True)
    _option(tmp_path / "run", data=config.data, out=config.out)
    again = shutil.copytree(tmp_path / "run", tmp_path / "again")
    watch = tiny.Watch()
    tiny.run(tiny.replace(config, out=str(again)), watch)
    assert watch.epochs == [2, 3]
    picture(tmp_path / "data/images/train/3.png", seed=99)
    watch = tiny.Watch()
    tiny.run(config, watch)
    assert watch.epochs == [1, 2, 3]


def test_a_run_that_is_over_says_so(whole: Path) -> None:
    with pytest.raises(ConfigError, match="has come to its end"):
        tiny.resume(whole)


def test_a_full_disk_keeps_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State(tmp_path / STATE, {"data": "a"})
    state.save({"rows": [1]})

    def full(file: Path, _: object) -> None:
        file.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(TrainingError, match="make room"):
        state.save({"rows": [1, 2]})
    assert [file.name for file in tmp_path.iterdir()] == [STATE]
    assert State(tmp_path / STATE, {"data": "a"}, read=True).values is not None


def test_a_fingerprint_knows_order_and_ignored_regions(tmp_path: Path) -> None:
    from vision_lora.datasets.open import open_dataset

    samples = open_dataset(tiny.data(tmp_path)).splits["train"]
    regions = {"ignored": samples[0].boxes, "ignored_classes": samples[0].classes}
    ignored = [tiny.replace(samples[0], **regions), *samples[1:]]
    assert len({fingerprint(some) for some in (samples, samples[::-1], samples[1:], ignored)}) == 4
    assert fingerprint(samples) == fingerprint(list(samples))
