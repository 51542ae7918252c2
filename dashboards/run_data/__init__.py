"""What pages read of a run beside its results: rows, protocol, published numbers, and config differences in words."""
