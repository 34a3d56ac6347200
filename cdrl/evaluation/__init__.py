"""Scores of embeddings and of edits, each with chance, interval and number of observations."""
