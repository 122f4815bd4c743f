from __future__ import annotations

from dataclasses import replace

from tests.comparison.build import result, row
from vision_lora.comparison.report.advice import advice
from vision_lora.comparison.stats import Interval


def test_of_level_methods_the_one_that_keeps_the_classes_is_taken() -> None:
    text = advice(result())
    assert text.startswith("Take lora: its mAP50-95, 0.415 ± 0.007, is level with the best, full's 0.420 ± 0.000 (-0.0")
    assert "it keeps the base's 80 classes, which full loses" in text
    assert "11% of the parameters and its file has 1.2 MB" in text
    assert "Clearly behind: ultralytics." in text


def test_a_method_that_is_clearly_behind_is_not_taken() -> None:
    rows = [row("lora", (0.30, 0.32), to_best=Interval(-0.11, -0.14, -0.08)), row("full", (0.42, 0.42))]
    text = advice(result(rows))
    assert text.startswith("Take full: it has the highest mAP50-95, 0.420 ± 0.000 (lora follows with 0.310 ± 0.014)")
    assert "Clearly behind: lora." in text
    assert "keeps" not in text


def test_a_wide_interval_does_not_make_a_large_gap_level() -> None:
    rows = [row("lora", (0.37,), to_best=Interval(-0.05, -0.15, 0.05)), row("full", (0.42,))]
    text = advice(result(rows))
    assert text.startswith("Take full")
    assert "Behind, though these pictures cannot tell for certain: lora." in text
    assert text.endswith("With one seed each, the spread between seeds is unknown.")


def test_a_joint_method_keeps_classes_only_as_measured() -> None:
    level = Interval(-0.001, -0.01, 0.01)
    joint = row("lora:joint", (0.419,), joint=True, trainable_parameters=9, to_best=level, kept=0.30, identical=False)
    rows = [joint, row("lora", (0.418,), to_best=level), row("full", (0.42,))]
    assert advice(result(rows)).startswith("Take lora:")
    assert "which lora:joint and full lose" in advice(result(rows))
    rows[0] = replace(joint, kept=0.43)
    assert advice(result(rows)).startswith("Take lora:joint:")
    unmeasured = replace(result([replace(joint, kept=None), *rows[1:]]), base_kept=None)
    assert advice(unmeasured).startswith("Take lora:")


def test_one_method_and_none() -> None:
    assert advice(result([row("lora", (0.4,))])) == "Only one method was run: lora reaches 0.400."
    assert advice(result([])) == "No run is finished, so nothing can be said."
