"""Training: one loop, and the networks that everything else builds on."""
