"""The networks: bases, extra maps, heads, and `ssd`, which ties them."""
