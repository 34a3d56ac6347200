"""Editing: a video file, an emotion and an intensity in, the edited file out."""
