"""Random changes of pictures and boxes: one idea a file, composed in `pipeline`."""
