"""How well default boxes cover the objects of a data set, and default boxes that cover them better."""
