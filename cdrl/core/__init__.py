"""Words, settings, stages, files: what every other folder stands on."""
