"""The promises of exact mode and of the adapter, on real checkpoints and on a tiny random network."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vision_lora.adapters.adapter import fingerprint
from vision_lora.adapters.file import load_adapter, save_adapter
from vision_lora.adapters.layers import Adapted
from vision_lora.adapters.weights.deltas import VARIANTS
from vision_lora.datasets.batches.loader import eval_loader
from vision_lora.datasets.open import open_dataset
from vision_lora.detectors.full import replace_classes, unfreeze
from vision_lora.detectors.network.fold import fold_batchnorm
from vision_lora.detectors.new_adapter import new_adapter, plan_adapter
from vision_lora.detectors.readout import MEASURE, Readout
from vision_lora.detectors.yolo import YoloDetector
from vision_lora.errors import AdapterError, CheckpointError, ConfigError

CHECKPOINTS = ("yolov8n.pt", "yolo11n.pt", "yolo26n.pt")
NAMES = ("scratch", "dent")


@pytest.fixture(params=CHECKPOINTS)
def checkpoint(request: pytest.FixtureRequest, shared: Path) -> str:
    return str(shared / "weights" / request.param)


def pictures(count: int = 2, size: int = 96) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def targets(size: int = 96) -> torch.Tensor:
    """Rows of index, class and corners: boxes of many sizes, so that every level of the head has something to find."""
    rows = []
    for index in (0, 1):
        for place, side in enumerate((12, 24, 40, 64, 80)):
            near, far = 8 * place + 4, min(8 * place + 4 + side, size)
            rows.append([index, place % 2, near, near, far, far])
    return torch.tensor(rows, dtype=torch.float32)


def large(rows: torch.Tensor) -> torch.Tensor:
    """The same boxes in a picture of 256 px."""
    return torch.cat((rows[:, :2], rows[:, 2:] * 256 / 96), 1)


def adapted(name: str, *, random: float = 0.0, **options: object) -> YoloDetector:
    torch.manual_seed(0)
    detector = YoloDetector.load(name)
    adapter = new_adapter(detector, NAMES, **{"rank": 4, "imgsz": 96, **options})
    if random:
        with torch.no_grad():
            for delta in adapter.deltas.values():
                for parameter in delta.parameters():
                    parameter.add_(random * torch.randn_like(parameter))
    detector.attach(adapter)
    return detector


@torch.no_grad()
def raw(detector: YoloDetector, source: str) -> torch.Tensor:
    detector.network.eval()
    with detector.pass_of(source):
        return detector.network(detector.prepare(pictures()))[0]


def test_folding_keeps_the_outputs(checkpoint: str) -> None:
    folded, plain = YoloDetector.load(checkpoint), YoloDetector.load(checkpoint, fold=False)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.network.modules())
    ours, theirs = raw(folded, "general"), raw(plain, "general")
    assert torch.allclose(ours, theirs, rtol=1e-3, atol=2e-3)


def test_folding_is_exact_to_the_last_bit_of_double_precision() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4).eval()
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
        tensor.normal_()
    x = torch.randn(1, 3, 8, 8)
    expected = norm.double()(conv.double()(x.double()))
    conv.float(), norm.float()
    fold_batchnorm(conv, norm)
    assert (conv(x) - expected).abs().max() < 1e-5


def test_base_pass_is_bit_identical_to_the_unadapted_detector(checkpoint: str) -> None:
    detector = adapted(checkpoint, random=0.05)
    assert torch.equal(raw(detector, "general"), raw(YoloDetector.load(checkpoint), "general"))
    assert not torch.equal(raw(detector, "general")[:, :4], raw(detector, "defects")[:, :4])


def test_attaching_changes_no_box(checkpoint: str) -> None:
    detector = adapted(checkpoint)
    assert torch.equal(raw(detector, "defects")[:, :4], raw(detector, "general")[:, :4]) or detector.head.end2end


def test_training_leaves_the_base_bit_identical(checkpoint: str) -> None:
    detector = adapted(checkpoint)
    before = fingerprint(detector.network.state_dict())
    adapter = detector.adapter
    assert adapter is not None
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=4e-3)
    first = None
    for _ in range(5):
        loss = sum(detector.losses(pictures(), targets()).values())
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        detector.detect(pictures())
    assert loss.item() < first
    assert fingerprint(detector.network.state_dict()) == before == detector.fingerprint
    assert all(parameter.grad is None for parameter in detector.network.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_adapter_tensor_gets_gradient_within_two_steps(shared: Path, variant: str) -> None:
    """On real pictures, whose boxes are of all sizes: each level of the head has something to find."""
    samples = open_dataset(shared / "datasets" / "neu-det" / "data.yaml").splits["train"][::105]
    batch = next(iter(eval_loader(samples, 256, len(samples))))
    batch.targets[:, 1] %= len(NAMES)
    detector = adapted(str(shared / "weights" / "yolo26n.pt"), variant=variant)
    adapter = detector.adapter
    assert adapter is not None
    learned = {name: parameter for name, parameter in adapter.named_parameters() if parameter.requires_grad}
    optimizer = torch.optim.SGD(learned.values(), lr=1e-2)
    seen: set[str] = set()
    for _ in range(2):
        optimizer.zero_grad()
        torch.stack(list(detector.losses(batch.images, batch.targets).values())).sum().backward()
        seen |= {name for name, parameter in learned.items() if parameter.grad is not None and parameter.grad.any()}
        optimizer.step()
    assert not learned.keys() - seen


def test_merged_detector_is_plain_and_finds_the_same(checkpoint: str) -> None:
    detector = adapted(checkpoint, random=0.02)
    before, found = raw(detector, "defects"), detector.detect(pictures(), mode="defects", readout=MEASURE)
    detector.merge()
    assert not any(isinstance(module, Adapted) for module in detector.network.modules())
    assert detector.names == NAMES
    assert (raw(detector, "general") - before).abs().max() <= 1e-5
    merged = detector.detect(pictures(), readout=MEASURE)
    assert all(np.array_equal(a.boxes, b.boxes) for a, b in zip(found, merged, strict=True))
    with pytest.raises(AdapterError, match="is merged"):
        detector.merge()
    detector.unmerge()
    assert fingerprint(detector.network.state_dict()) == detector.fingerprint
    assert torch.equal(raw(detector, "defects"), before)


def test_file_gives_the_same_detections(checkpoint: str, tmp_path: Path) -> None:
    detector = adapted(checkpoint, random=0.02)
    assert detector.adapter is not None
    save_adapter(detector.adapter, tmp_path / "a.safetensors")
    again = YoloDetector.load(checkpoint)
    again.attach(load_adapter(tmp_path / "a.safetensors"))
    ours, theirs = (d.detect(pictures(), readout=MEASURE) for d in (detector, again))
    for one, other in zip(ours, theirs, strict=True):
        assert np.array_equal(one.boxes, other.boxes)
        assert np.array_equal(one.scores, other.scores)
        assert np.array_equal(one.classes, other.classes)


def test_both_speaks_two_vocabularies(shared: Path) -> None:
    detector = adapted(str(shared / "weights" / "yolo11n.pt"), random=0.02)
    low = Readout(confidence=0.001)
    found = {mode: detector.detect(pictures(), mode=mode, readout=low)[0] for mode in ("general", "defects", "both")}
    both = found["both"]
    assert both.names == (*detector.names, *NAMES)
    assert len(both) == len(found["general"]) + len(found["defects"])
    assert {both.source(i) for i in range(len(both))} == {"general", "defects"}
    assert (np.diff(both.scores) <= 0).all()
    mine = both.classes >= both.general
    assert np.array_equal(np.sort(both.scores[mine]), np.sort(found["defects"].scores))


def test_predict_maps_boxes_back_to_the_picture(shared: Path) -> None:
    detector = YoloDetector.load(str(shared / "weights" / "yolo11n.pt"))
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (60, 120, 3), dtype=np.uint8)
    small = detector.predict([picture], 96, readout=Readout(confidence=0.0005))[0]
    assert len(small)
    assert (small.boxes[:, [0, 2]] <= 120).all()
    assert (small.boxes[:, [1, 3]] <= 60).all()
    assert (small.boxes >= 0).all()
    assert detector.predict([], 96) == []


def test_full_fine_tuning_saves_a_checkpoint_that_opens_again(shared: Path, tmp_path: Path) -> None:
    import ultralytics

    detector = YoloDetector.load(str(shared / "weights" / "yolo26n.pt"), fold=False)
    replace_classes(detector, NAMES)
    unfreeze(detector)
    sum(detector.losses(pictures(size=256), large(targets())).values()).backward()
    assert all(p.grad is not None for n, p in detector.network.named_parameters() if p.requires_grad)
    detector.save_checkpoint(tmp_path / "full.pt")
    again = YoloDetector.load(str(tmp_path / "full.pt"), fold=False)
    assert again.names == NAMES
    assert torch.equal(raw(again, "general"), raw(detector, "general"))
    assert ultralytics.YOLO(tmp_path / "full.pt").names == dict(enumerate(NAMES))


def test_placements(shared: Path) -> None:
    detector = YoloDetector.load(str(shared / "weights" / "yolo11n.pt"))
    sites = {
        place: {e.site for e in plan_adapter(detector, 2, placement=place).adapted}  # type: ignore[arg-type]
        for place in ("all", "neck", "head")
    }
    assert sites["head"] < sites["neck"] < sites["all"]
    assert {site.split(".")[1] for site in sites["head"]} == {"23"}
    assert min(int(site.split(".")[1]) for site in sites["neck"]) == 13
    with pytest.raises(ConfigError, match="placement 'tail' is unknown"):
        plan_adapter(detector, 2, placement="tail")  # type: ignore[arg-type]


def test_new_rows_expect_few_objects(shared: Path) -> None:
    detector = adapted(str(shared / "weights" / "yolo11n.pt"))
    scores = raw(detector, "defects")[:, 4:]
    assert scores.shape[1] == len(NAMES)
    assert 0 < scores.mean() < 0.05


@pytest.mark.parametrize("names", [(), ("a", "a")])
def test_class_names_have_to_be_there_and_single(shared: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(AdapterError, match="expected at least one, each name once"):
        new_adapter(YoloDetector.load(str(shared / "weights" / "yolo11n.pt")), names)


class Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch executed",)


def test_unusable_checkpoints_are_refused_in_one_line(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Code()}, "evil.pt")
    torch.save({"weights": torch.zeros(3)}, "tensors.pt")
    Path("text.pt").write_text("hello")
    Path("pickle.pt").write_bytes(pickle.dumps({"model": Code()}))
    whole = (shared / "weights" / "yolo11n.pt").read_bytes()
    Path("cut.pt").write_bytes(whole[: len(whole) // 2])
    Path("folder.pt").mkdir()
    for name, message in {
        "evil.pt": r"refused, its pickle names code outside the allow-list \(posix\.system\)",
        "tensors.pt": "holds no network",
        "text.pt": "not a readable checkpoint",
        "pickle.pt": "evil|not a readable checkpoint|refused",
        "cut.pt": "not a readable checkpoint",
        "folder.pt": "expected a checkpoint file, found a folder",
        "gone.pt": "no such checkpoint",
        "gone.yaml": "no such architecture",
    }.items():
        with pytest.raises(CheckpointError, match=message) as caught:
            YoloDetector.load(name)
        assert "\n" not in str(caught.value)
    assert not Path("executed").exists()


def test_other_heads_are_refused_with_the_supported_ones() -> None:
    with pytest.raises(CheckpointError, match="not a supported detector; expected a detection checkpoint of YOLOv8"):
        YoloDetector.load("yolo11n-seg.yaml")


def test_an_official_name_that_cannot_be_downloaded_asks_for_a_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def offline(name: str) -> str:
        raise ConnectionError("no route\nto host")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vision_lora.detectors.checkpoints.weights.attempt_download_asset", offline)
    with pytest.raises(CheckpointError, match=r"download failed \(no route to host\).*--model /path/to/yolo11x\.pt"):
        YoloDetector.load("yolo11x.pt")


def test_random_architectures_load_and_train(tmp_path: Path) -> None:
    """Every YOLO generation that Ultralytics ships, built from its architecture file."""
    for name in ("yolov8n.yaml", "yolov9t.yaml", "yolov10n.yaml", "yolo12n.yaml"):
        detector = adapted(name)
        losses = detector.losses(pictures(), targets())
        torch.stack(list(losses.values())).sum().backward()
        assert all(torch.isfinite(loss) for loss in losses.values())
        assert len(detector.detect(pictures())) == 2
    shutil.rmtree(tmp_path)
