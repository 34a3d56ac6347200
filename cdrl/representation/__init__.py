"""The two decoupled representations, content (CCRL) and emotion (CERL), and guidance by both."""
