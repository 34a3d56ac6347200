"""Sound: one sample rate for everything that the kit stores and hears."""

AUDIO_RATE = 16_000  # Hz, mono
