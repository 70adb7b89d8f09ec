"""yoyo: bring a GPU node up, keep what matters, bring it down, and prove it."""

__version__ = "0.1.0"
