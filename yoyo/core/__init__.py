"""Decisions as pure functions: no clock, environment, network or subprocess."""
