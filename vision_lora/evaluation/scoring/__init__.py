"""Scoring: which detections are right, and what follows from it: curves, thresholds, confusion, calibration."""
