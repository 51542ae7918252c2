"""What is shown while a study runs: the view in the terminal, Prometheus metrics, and the driver's heartbeat.

All three are listeners of the trials. `ProgressCounter` counts for the terminal and the heartbeat.
"""
