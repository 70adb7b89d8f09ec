"""One file a use case of adapters."""
