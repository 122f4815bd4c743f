"""How good a detector is: mAP, and the pictures and curves that show it."""
