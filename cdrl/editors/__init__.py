"""Editors: who turns a clip and an emotion into an edited clip."""
