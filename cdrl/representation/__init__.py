"""The two decoupled representations: content (CCRL), emotion (CERL), and guidance made of both."""
