"""Frames out of video files and cameras, and video files out of frames."""
