"""Keyless signatures by Sigstore."""
