"""A process that ends with the one that started it."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """End this process at once when standard input is closed, which happens when the parent ends, however it ends."""
    threading.Thread(target=_end_after_parent, daemon=True).start()


def _end_after_parent() -> None:
    # os.read holds no lock of Python's own that a forked loader process could wait for.
    while os.read(0, 1):
        pass
    for loader in multiprocessing.active_children():  # they would look for their parent every few seconds only
        loader.kill()
    os._exit(130)
