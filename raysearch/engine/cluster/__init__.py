"""Where trials run: the connection to Ray, the size of a worker group, images on every node, and what nodes cost."""
