"""Random changes of images and boxes: one idea a file, composed in `pipeline`."""
