"""The server: detection over HTTP, for browsers and for other programs."""
