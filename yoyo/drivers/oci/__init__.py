"""An OCI registry over its HTTP interface."""
