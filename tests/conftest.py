"""Settings for all tests."""

from __future__ import annotations

import os

from hypothesis import settings

pytest_plugins = ("export_fixtures", "train_fixtures")

# No deadline: the machines are shared, and speed is measured in benchmarks. In CI the examples are always the same.
settings.register_profile("shared", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("shared")
