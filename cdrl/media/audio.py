"""Sound: the one sample rate at which the kit stores and reads it."""

AUDIO_RATE = 16_000  # Hz, mono
