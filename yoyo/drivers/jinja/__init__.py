"""Templates filled in by Jinja."""
