"""One module for each source of weights."""
