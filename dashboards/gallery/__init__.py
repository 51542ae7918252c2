"""Pages of pictures: what the networks of a run do with images. Imports neither torch nor ray."""
