"""The paper's release: networks, losses, training."""
