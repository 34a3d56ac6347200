"""Figures, tables and pages that show the results of runs."""
