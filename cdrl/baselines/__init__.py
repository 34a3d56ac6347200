"""Other methods, for comparison."""
