"""One module for each verb: what `ssd VERB` does, callable from Python."""
