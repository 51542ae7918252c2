"""Studies: one file each; what users copy and edit."""
