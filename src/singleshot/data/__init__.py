"""Data sets on disk: one reader a format, recognition, checks, statistics, loading."""
