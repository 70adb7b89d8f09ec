"""The only reader of configuration files, environment and flags."""
