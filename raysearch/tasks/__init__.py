"""What is trained and how well it does: a task is a model in training, a metric is what comes of it."""
