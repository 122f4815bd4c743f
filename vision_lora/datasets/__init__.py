"""What factories have: pictures and boxes in YOLO, COCO or VOC form, read, checked and fed to training."""

from vision_lora.datasets.open import open_dataset
from vision_lora.datasets.sample import Dataset, Problem, Sample

__all__ = ["Dataset", "Problem", "Sample", "open_dataset"]
