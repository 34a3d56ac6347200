"""How far a representation separates speech from emotion: leakage, retrieval, swaps, dependence, maps."""
