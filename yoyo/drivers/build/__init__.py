"""Builds engine bundles from llama.cpp's source."""
