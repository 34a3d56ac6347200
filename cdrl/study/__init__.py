"""The comparison over seeds: rows, jobs, tables."""
