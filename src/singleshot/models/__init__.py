"""The networks: backbones, extra maps, heads, and `ssd`, which puts them together."""
