"""singleshot: the SSD family of object detectors, exact and fast."""
