"""Which method to take, and why, in a sentence or two."""

from __future__ import annotations

from vision_lora.comparison.report.result import Result, Row

LEVEL = 0.005  # mAP50-95: a smaller difference decides nothing, whatever its interval
UNSURE = 0.02  # up to here methods are level where the pictures cannot tell them apart
KEPT = 0.02  # the base's classes are kept where their mAP50-95 falls by no more


def advice(result: Result) -> str:
    """The method to take on the largest training set, and why.

    Among the methods that are level with the best one (less than 0.005 behind, or less than 0.02 and the 95 % interval
    of the difference reaches zero) one that keeps the base's classes is taken before one that loses them, and then the
    one that trains the fewest parameters.
    """
    rows = result.of(result.largest) if result.rows else []
    if not rows:
        return "No run is finished, so nothing can be said."
    if len(rows) == 1:
        return f"Only one method was run: {rows[0].method} reaches {_score(rows[0])}."
    best = next(row for row in rows if row.to_best is None)
    level = [row for row in rows if _is_level(row)]
    kept = {row.method: _keeps(row, result.base_kept) for row in rows}
    taken = min(level, key=lambda row: (not kept[row.method], row.trainable_parameters, -row.map50_95.mean))
    reasons = []
    if taken.to_best is None:
        runner = max((row for row in rows if row is not best), key=lambda row: row.map50_95.mean)
        reasons.append(f"it has the highest mAP50-95, {_score(taken)} ({runner.method} follows with {_score(runner)})")
    else:
        difference, low, high = taken.to_best
        gap = f"{difference:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
        reasons.append(f"its mAP50-95, {_score(taken)}, is level with the best, {best.method}'s {_score(best)} ({gap})")
    lost = [row.method for row in level if not kept[row.method]]
    if kept[taken.method]:
        others = f", which {_and(lost)} lose{'s' if len(lost) == 1 else ''}" if lost else ""
        reasons.append(f"it keeps the base's {result.facts['base_classes']} classes{others}")
    share = taken.trainable_parameters / taken.total_parameters
    reasons.append(f"it trains {share:.0%} of the parameters and its file has {taken.bytes / 1e6:.1f} MB")
    text = f"Take {taken.method}: {'; '.join(reasons)}."
    behind = [row for row in rows if not _is_level(row)]
    for sure, word in ((True, "Clearly behind"), (False, "Behind, though these pictures cannot tell for certain")):
        if methods := [row.method for row in behind if row.to_best and (row.to_best.high < 0) is sure]:
            text += f" {word}: {_and(methods)}."
    if len(taken.runs) == 1:
        text += " With one seed each, the spread between seeds is unknown."
    return text


def _is_level(row: Row) -> bool:
    """Whether a method is as good as the best one for all that can be told."""
    if row.to_best is None or row.to_best.difference > -LEVEL:
        return True
    return row.to_best.difference > -UNSURE and row.to_best.high >= 0


def _keeps(row: Row, base: float | None) -> bool:
    """Whether the base's classes stay: as measured, or by construction, where two passes leave the base as it is."""
    if row.kept is None or base is None:
        return row.keeps_classes and not row.joint
    return row.kept >= base - KEPT


def _score(row: Row) -> str:
    mean, deviation = row.map50_95
    return f"{mean:.3f}" if deviation is None else f"{mean:.3f} ± {deviation:.3f}"


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
