"""Networks that are trained, and networks of others whose published weights are loaded."""
