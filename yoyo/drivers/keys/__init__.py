"""Signatures by a key of one's own, for operators without a way out."""
