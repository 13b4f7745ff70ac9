"""The search for default boxes that fit a data set."""
