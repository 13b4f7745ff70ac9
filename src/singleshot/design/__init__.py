"""How well default boxes tile the objects of a data set, and a tiling that does it better."""
