"""The numbers are those of scikit-learn, supervision and Ultralytics on the same detections."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import supervision as sv
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve
from ultralytics.utils.metrics import ap_per_class

from tests.evaluation.build import NAMES, random_pictures
from vision_lora.evaluation.coco_map import coco_map
from vision_lora.evaluation.scoring.calibration import BINS, LEAST, calibration
from vision_lora.evaluation.scoring.confusion import confusion_matrix, judge
from vision_lora.evaluation.scoring.curves import curve
from vision_lora.evaluation.scoring.outcomes import find_outcomes

SEEDS = (0, 1, 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_precision_and_recall_are_scikit_learns(seed: int) -> None:
    found, samples = random_pictures(seed)
    outcomes = find_outcomes(found, samples, NAMES)
    for index in range(len(NAMES)):
        own = outcomes.classes == index
        line = curve(outcomes, index)
        precision, recall, thresholds = precision_recall_curve(outcomes.right[own], outcomes.scores[own])
        assert np.allclose(line.scores[::-1], thresholds, atol=1e-9)
        assert np.allclose(line.precision[::-1], precision[:-1], atol=1e-9)
        # scikit-learn knows of boxes only that a detection found; its recall is a share of those.
        assert np.allclose(line.recall[::-1], recall[:-1] * outcomes.right[own].sum() / line.boxes, atol=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_precision_recall_and_f1_are_ultralytics(seed: int) -> None:
    """At the scores that its grid of thousand points shares with the detections; between them it interpolates."""
    found, samples = random_pictures(seed)
    outcomes = find_outcomes(found, samples, NAMES)
    right = np.repeat(outcomes.right[:, None], 10, 1)
    answer = ap_per_class(right, outcomes.scores, outcomes.classes, outcomes.true_classes)
    precision, recall, grid = answer[8], answer[9], answer[10]
    for index in range(len(NAMES)):
        line = curve(outcomes, index)
        # It counts a score's equals one by one, here they count together: only scores of one detection are compared.
        alone = np.flatnonzero(np.diff(line.right + line.wrong, prepend=0) == 1)
        for place in alone.tolist():
            if (near := np.abs(grid - line.scores[place])).min() > 1e-12:
                continue
            at = near.argmin()
            assert precision[index][at] == pytest.approx(line.precision[place], abs=1e-6)
            assert recall[index][at] == pytest.approx(line.recall[place], abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_right_detections_are_those_of_pycocotools(seed: int) -> None:
    """The area below our curve, as COCO takes it, is the AP50 that pycocotools computes from its own matching."""
    found, samples = random_pictures(seed)
    outcomes = find_outcomes(found, samples, NAMES)
    theirs = coco_map(found, samples, NAMES).per_class
    for index, name in enumerate(NAMES):
        own = outcomes.classes == index
        hits = np.cumsum(outcomes.right[own])
        recall, precision = hits / (outcomes.true_classes == index).sum(), hits / np.arange(1, own.sum() + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        places = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
        area = np.append(best, 0.0)[places].mean()
        assert area == pytest.approx(theirs[name].map50, abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("threshold", [0.1, 0.5])
def test_the_confusion_matrix_is_supervisions(seed: int, threshold: float) -> None:
    found, samples = random_pictures(seed)
    outcomes = find_outcomes(found, samples, NAMES)
    mine = confusion_matrix(outcomes, judge(outcomes, np.full(len(NAMES), threshold)))
    theirs = sv.ConfusionMatrix.from_detections(
        predictions=[
            sv.Detections(xyxy=one.boxes[over], class_id=one.classes[over], confidence=one.scores[over])
            for one in found
            for over in [one.scores >= threshold]
        ],
        targets=[sv.Detections(xyxy=one.boxes, class_id=one.classes) for one in samples],
        classes=list(NAMES),
        conf_threshold=0.0,
        iou_threshold=0.5,
    )
    assert mine.tolist() == theirs.matrix.astype(int).tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_calibration_error_is_that_of_scikit_learns_curve(seed: int) -> None:
    found, samples = random_pictures(seed)
    outcomes = find_outcomes(found, samples, NAMES)
    outcomes = replace(
        outcomes, scores=outcomes.scores - 0.003
    )  # what is on an edge is in the lower bin there, here not
    mine = calibration(outcomes)
    own = outcomes.scores >= LEAST
    share, score = calibration_curve(outcomes.right[own], outcomes.scores[own], n_bins=BINS)
    some = mine.count > 0
    assert np.allclose(mine.precision[some], share)
    assert np.allclose(mine.score[some], score)
    assert mine.error == pytest.approx((mine.count[some] * np.abs(share - score)).sum() / own.sum(), abs=1e-9)
