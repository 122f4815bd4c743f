"""Runs a whole camera fifty times, each time killed at a random moment, then once to the end; for `test_kill.py`.

    python kill_loop.py VIDEO FOLDER KILLS

Everything is imported once; each run is a fork, so that fifty runs take seconds. `FOLDER/reported` gets the id of each
event when it has been reported.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from tests.streaming.build import SquareFinder
from vision_lora.options.camera import CameraConfig
from vision_lora.streaming.records.journal import Journal
from vision_lora.streaming.service import Service
from vision_lora.streaming.settings import read_sources
from vision_lora.system.signals import Stop

video, folder, kills = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])


def watch() -> None:
    tell = Journal.tell

    def reporting(journal: Journal, *args: object, **details: object) -> object:
        event = tell(journal, *args, **details)
        if event is not None:
            with (folder / "reported").open("a") as reported:
                reported.write(event["id"] + "\n")
        return event

    Journal.tell = reporting
    config = CameraConfig(
        model="m", source=[video], min_frames=2, events=str(folder / "events.jsonl"), crops=str(folder / "crops")
    )
    sys.exit(Service(config, read_sources(config), SquareFinder(delay=0.004)).run(Stop()))


random.seed(8)
for _ in range(kills):
    child = os.fork()
    if child == 0:
        watch()
    time.sleep(random.uniform(0.02, 0.6))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
watch()
