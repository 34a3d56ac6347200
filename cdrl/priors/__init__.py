"""Frozen outside knowledge: audio, vision and language priors, and features made by them."""
