"""What is shown while a study runs: the terminal view, Prometheus metrics and the heartbeat of the driver."""
