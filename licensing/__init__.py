"""Placeholder docstring, filled in with the public names below."""
