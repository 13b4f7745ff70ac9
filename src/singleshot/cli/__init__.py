"""The `ssd` command: one file a verb."""
