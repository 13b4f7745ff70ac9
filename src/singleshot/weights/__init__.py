"""Weights on disk: our folder, and importers for those of others."""
