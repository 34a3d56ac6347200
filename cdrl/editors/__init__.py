"""Editors: they turn a clip and an emotion into an edited clip."""
