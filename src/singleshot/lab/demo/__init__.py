"""The demonstration: detection on photographs and a training run on a data set that draws itself."""
