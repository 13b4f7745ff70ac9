"""How fast detectors are on this machine: ours beside their peers, interleaved in one run, and beside its own limit."""
