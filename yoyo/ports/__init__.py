"""One Protocol a file: what the use cases need from the outside world."""
