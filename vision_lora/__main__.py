"""`vision-lora VERB ...`: one program in front of the verbs, each of which is `python -m vision_lora.VERB` as well."""

from __future__ import annotations

import ast
import difflib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

VERBS = (
    "train",
    "evaluate",
    "retention",
    "predict",
    "camera",
    "propose",
    "compare",
    "benchmark",
    "check",
    "export",
    "inspect",
    "models",
    "demo",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: the verb and its own options; by default what the shell gave.

    Returns:
        The verb's exit code; 2 where there is no such verb.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words:
        print(usage(), file=sys.stderr)
        return 2
    verb, *options = words
    if verb in ("-h", "--help"):
        print(usage())
        return 0
    if verb == "--version":
        from vision_lora import __version__  # takes longer than all else here

        print(__version__)
        return 0
    if verb == "--completion":
        return _complete(options)
    if verb not in available():
        near = difflib.get_close_matches(verb, available(), 1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        print(f"vision-lora: no verb {verb!r}; {meant}there are: {', '.join(available())}", file=sys.stderr)
        return 2
    code: int = importlib.import_module(module_of(verb)).main(options)
    return code


def _complete(words: Sequence[str]) -> int:
    """Print the script that completes verbs and options in a shell."""
    from vision_lora.options.completion import SHELLS, script  # knows the options of all verbs, which takes time

    if len(words) != 1 or words[0] not in SHELLS:
        given = " ".join(words) or "(nothing)"
        print(f"vision-lora: --completion {given}: expected one of {', '.join(SHELLS)}", file=sys.stderr)
        return 2
    print(script(words[0]))
    return 0


def available() -> dict[str, Path]:
    """Verbs that this installation has, with their files: each is a module, or a room with a `__main__.py`."""
    folder = Path(__file__).parent
    places = ((verb, file) for verb in VERBS for file in (folder / f"{verb}.py", folder / verb / "__main__.py"))
    return {verb: file for verb, file in places if file.is_file()}


def module_of(verb: str) -> str:
    """The module with a verb's `main`."""
    return f"vision_lora.{verb}" if available()[verb].stem == verb else f"vision_lora.{verb}.__main__"


def usage() -> str:
    """What `--help` prints: each verb with the first line of its docstring, read without importing it (or torch)."""
    purpose = _first_line(Path(__file__).with_name("__init__.py"))
    verbs = "\n".join(f"  {verb:<10} {_first_line(file)}" for verb, file in available().items())
    return (
        f"usage: vision-lora VERB [options]\n\n{purpose}\n\nverbs:\n{verbs}\n\n"
        "`vision-lora VERB --help` lists a verb's options. `--version` tells the version; `--completion bash` prints\n"
        "what completes verbs and options with the Tab key (zsh too)."
    )


def _first_line(file: Path) -> str:
    """First line of a module's docstring."""
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
