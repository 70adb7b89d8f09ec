"""One file a use case. Knows ports and core, never a driver."""
