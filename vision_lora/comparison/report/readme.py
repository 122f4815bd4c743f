"""Kept results as tables: `python -m vision_lora.comparison.report.readme RESULT.json ... [--into README.md]`.

A table of `NAME.json` goes between the marks `<!-- compare NAME -->` and `<!-- /compare -->`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vision_lora.comparison.report import tables
from vision_lora.comparison.report.advice import advice
from vision_lora.comparison.report.notes import notes
from vision_lora.comparison.report.result import Result
from vision_lora.errors import DataError, VisionLoraError, reason
from vision_lora.options.command_line import make_console
from vision_lora.system.outputs import write_text
from vision_lora.text.markup import Strong, code_in_markdown, in_markdown

END = "<!-- /compare -->"


def read_result(path: Path) -> Result:
    """A comparison from its `compare.json`.

    Raises:
        DataError: missing, or no result of a comparison.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Result.from_json({key: value for key, value in values.items() if key != "advice"})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: no result of a comparison ({reason(error)}); expected a compare.json") from None


def section(result: Result) -> str:
    """One comparison as a part of the README: what was asked, a table for each training set, what follows from it."""
    return "\n\n".join(_parts(result))


def put_into(file: Path, sections: Mapping[str, str]) -> None:
    """Replace what stands between the marks of each name in a Markdown file.

    Raises:
        DataError: the file cannot be read, or a name's marks are not there once; it is as it was then.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    for name, section in sections.items():
        begin = f"<!-- compare {name} -->"
        before, mark, rest = text.partition(begin)
        old, end, after = rest.partition(END)
        if not mark or not end or begin in rest or "<!-- compare " in old:
            raise DataError(f"{file}: expected the marks {begin} and {END}, once, in this order")
        text = f"{before}{begin}\n{section}\n{END}{after}"
    write_text(file, text)


def _parts(result: Result) -> Iterator[str]:
    yield f"{in_markdown(Strong(result.title))}: {code_in_markdown(result.command)}"
    for shots in result.shots:
        if len(result.shots) > 1:
            yield in_markdown(f"{tables.training_set(shots, result.of(shots))}:")
        yield tables.markdown(tables.short(result, shots))
    yield in_markdown(" ".join([advice(result), *notes(result)]))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables, or put them into a file; gives the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    console = make_console()
    target = None
    if "--into" in words[:-1]:
        place = words.index("--into")
        target = Path(words[place + 1])
        del words[place : place + 2]
    try:
        if not words or any(word.startswith("-") for word in words):
            raise DataError("expected RESULT.json ... [--into FILE.md]")
        sections = {Path(word).stem: section(read_result(Path(word))) for word in words}
        if target is not None:
            put_into(target, sections)
        else:
            console.print("\n\n".join(sections.values()))
    except VisionLoraError as error:
        make_console(stderr=True).print(f"error: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
