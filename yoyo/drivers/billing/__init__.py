"""Readers of billing exports."""
