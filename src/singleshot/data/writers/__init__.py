"""Writers of labelled sets, one file a format; `new_set` chooses."""
