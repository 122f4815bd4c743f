"""MkDocs hook: files of the repository that a page links to (`../data/results/rates.json`) become part of the site.

So the same link works in a checkout and on the site, and MkDocs' strict mode finds one that leads nowhere.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

OUTSIDE = re.compile(r"\]\(\.\./([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add what pages link to outside their folder, under its path in the repository."""
    root = Path(config.docs_dir).parent
    texts = [file.content_string for file in files.documentation_pages()]
    for name in sorted({name for text in texts for name in OUTSIDE.findall(text)}):
        if (root / name).is_file():
            files.append(
                File.generated(config, f"{name}.txt" if name.endswith(".md") else name, abs_src_path=str(root / name))
            )
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point links out of the folder at the copies."""
    return OUTSIDE.sub(lambda link: f"]({link[1]}.txt" if link[1].endswith(".md") else f"]({link[1]}", markdown)
