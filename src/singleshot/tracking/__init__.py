"""Tracks: which detections of a video are the same object."""
