"""Records pictures, says so, and waits to be killed by `test_disk.py`."""

import sys
import time
from pathlib import Path

import numpy as np

from vision_lora.pictures.detections import Detections
from vision_lora.streaming.records.disk import BoundedFolder
from vision_lora.streaming.records.segments import NAME, Recorder
from vision_lora.streaming.sources.inbox import Frame

nothing = Detections(np.zeros((0, 4), "f4"), np.zeros(0, "f4"), np.zeros(0, np.int64), ("scratch",), 0)
picture = np.full((120, 160, 3), 90, np.uint8)
recorder = Recorder(BoundedFolder("segments", Path(sys.argv[1]), NAME, 1e9), print)
recorder.start()
for number in range(50):
    clock = number / 10
    recorder.record(
        Frame("line", number, clock, clock, clock, (160, 120), lambda: picture, str(number), "f"), picture, nothing
    )
while not recorder._queue.empty():
    time.sleep(0.01)
time.sleep(0.2)
print("written", flush=True)
time.sleep(60)
