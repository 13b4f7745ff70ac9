"""One image explained: which default box found each object, which ones would learn it, what would be mined."""
