"""Configs of a user's own code: the settings of a task, the settings of a part, and metrics."""
