"""Studies that come with raysearch: one file each, made to be copied and edited."""
