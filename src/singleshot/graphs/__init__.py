"""Detectors that come as a graph of TensorFlow's: read, cut before their own post-processing, and made an engine."""
