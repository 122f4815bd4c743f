"""Streaming: pictures in, detections out."""
