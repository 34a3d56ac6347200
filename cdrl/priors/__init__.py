"""Frozen outside knowledge: audio, vision and language priors, the action tracker, their features."""
