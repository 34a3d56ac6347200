"""Clips of any corpus: found, checked, cropped, stored."""
