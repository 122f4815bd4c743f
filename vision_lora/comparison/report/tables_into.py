"""Kept results as tables: `python -m vision_lora.comparison.report.tables_into RESULT.json ... [--into PAGE.md ...]`.

A table of `NAME.json` goes between the marks `<!-- compare NAME -->` and `<!-- /compare -->` of the page that has them.
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
    """One comparison as a part of a page: what was asked, a table for each training set, what follows from it."""
    return "\n\n".join(_parts(result))


def put_into(pages: Sequence[Path], sections: Mapping[str, str]) -> None:
    """Replace what stands between the marks of each name, in the one of the Markdown files that has them.

    Raises:
        DataError: a file cannot be read, or a name's marks are not there once; all files are as they were then.
    """
    texts = {page: _text(page) for page in pages}
    for name, section in sections.items():
        begin = f"<!-- compare {name} -->"
        page = next((page for page, text in texts.items() if begin in text), None)
        before, _, rest = texts[page].partition(begin) if page else ("", "", "")
        old, end, after = rest.partition(END)
        if page is None or not end or "<!-- compare " in old or sum(t.count(begin) for t in texts.values()) > 1:
            places = ", ".join(map(str, pages))
            raise DataError(f"{places}: expected the marks {begin} and {END}, once, in this order")
        texts[page] = f"{before}{begin}\n{section}\n{END}{after}"
    for page, text in texts.items():
        write_text(page, text)


def _text(page: Path) -> str:
    try:
        return page.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{page}: cannot be read ({error.strerror})") from None


def _parts(result: Result) -> Iterator[str]:
    yield f"{in_markdown(Strong(result.title))}: {code_in_markdown(result.command)}"
    for shots in result.shots:
        if len(result.shots) > 1:
            yield in_markdown(f"{tables.training_set(shots, result.of(shots))}:")
        yield tables.markdown(tables.short(result, shots))
    yield in_markdown(" ".join([advice(result), *notes(result)]))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables, or put them into pages; gives the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    console = make_console()
    place = words.index("--into") if "--into" in words else len(words)
    results, pages = words[:place], words[place + 1 :]
    try:
        if not results or place == len(words) - 1 or any(word.startswith("-") for word in (*results, *pages)):
            raise DataError("expected RESULT.json ... [--into PAGE.md ...]")
        sections = {Path(word).stem: section(read_result(Path(word))) for word in results}
        if pages:
            put_into([Path(page) for page in pages], sections)
        else:
            console.print("\n\n".join(sections.values()))
    except VisionLoraError as error:
        make_console(stderr=True).print(f"error: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
