"""What the trained networks of a run do with images: masks, attention, neighbours. Knows torch and tasks, never ray."""
