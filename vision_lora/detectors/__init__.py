"""Detectors: pretrained networks with what is needed to feed them and to read them."""

import os

from PIL import Image

# Ultralytics would print banners and install missing packages by itself; a factory PC must not change because a file
# asked for it. On import it exchanges Pillow's `open` for one that wants another package at each broken picture.
os.environ.setdefault("YOLO_VERBOSE", "False")
os.environ.setdefault("YOLO_AUTOINSTALL", "False")
_open = Image.open
import ultralytics  # noqa: E402, F401 - after the settings above

Image.open = _open
