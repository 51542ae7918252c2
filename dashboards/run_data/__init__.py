"""Data that several pages read: rows of results, published numbers, differences of configs, and row limits."""
