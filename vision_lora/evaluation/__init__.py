"""How good a detector is: mAP as COCO counts it, and what is left of the base's own classes."""
