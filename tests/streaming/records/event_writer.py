"""Writes events as fast as it can and says which are on disk: killed by `test_events.py` at any moment."""

import sys
from pathlib import Path

from vision_lora.streaming.records.events import EventLog

log = EventLog(Path(sys.argv[1]), limit=2_000, keep=1000)
for number in range(int(sys.argv[2]), 1_000_000):
    event = {"id": f"{number:06d}", "kind": "alarm", "text": "scratch ä" * (number % 7)}
    if log.write(event):
        sys.stdout.write(f"{number:06d}\n")
        sys.stdout.flush()
