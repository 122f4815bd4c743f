"""How a comparison was measured, in words."""

from __future__ import annotations

from vision_lora.comparison.report.result import Result


def notes(result: Result) -> list[str]:
    """What a reader has to know to trust the numbers, a sentence or two each."""
    facts = result.facts
    lines = [
        f"Same pictures, {facts['epochs']} epochs, batch {facts['batch']}, {facts['imgsz']} px, recipe "
        f"{facts['augment']} and evaluation for every method; rank {facts['rank']} where a name says no other.",
        f"Scores are COCO's, on the {facts['scored_images']} pictures of the {facts['scored']} split, of the weights "
        "that were best on val.",
        _search(result),
        _spread(result),
    ]
    if any(row.method.startswith("ultralytics") for row in result.rows):
        lines.append(
            "Ultralytics' own trainer keeps its optimiser, augmentation and precision and sees as many pictures; its "
            "time counts from the first epoch on, ours from opening the dataset."
        )
    if facts["scored"] != "test":
        lines.append("There is no test split: the pictures that are scored chose epoch and learning rate too.")
    if any(row.shots.isdecimal() for row in result.rows):
        lines.append(
            "Few pictures: at least so many of each class, drawn anew with each seed, smaller sets inside larger ones; "
            f"an epoch draws {facts['draws']} pictures at least."
        )
    if facts["jobs"] > 1:
        lines.append(f"{facts['jobs']} runs side by side shared the machine: times are not to be compared.")
    machine = facts["machine"].get("gpu") or f"{facts['machine']['cores']} cores, {facts['machine']['processor']}"
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return [*lines, f"On {facts['device']} ({machine}); {versions}."]


def _search(result: Result) -> str:
    trials = max((len(row.trials) for row in result.rows), default=0)
    if trials < 2:
        return "Learning rate: as given, without trials."
    seed = result.facts["seeds"][0]
    own = sorted({row.method for row in result.rows if row.lr is None})
    text = f"Learning rate: {trials} trials for each method and training set with seed {seed}, the best on val taken."
    if own:
        text += f" Without trials, by its own rule: {', '.join(own)}."
    for end, most in (("lowest", min), ("highest", max)):
        rows = [row for row in result.rows if len(row.trials) > 1]
        if at := [f"{row.method} on {row.shots}" for row in rows if row.lr == most(lr for lr, _ in row.trials if lr)]:
            text += f" The {end} one tried was the best for {', '.join(at)}: a wider search may do better."
    return text


def _spread(result: Result) -> str:
    seeds = len(result.facts["seeds"])
    spread = f"Mean ± standard deviation over {seeds} seeds." if seeds > 1 else "One seed."
    resamples = result.facts["resamples"]
    return f"{spread} Intervals: paired bootstrap over the pictures, {resamples} resamples, the same for all methods."
