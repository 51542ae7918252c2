"""Gallery pages of a run: pictures of what its trained networks do with images, per task.

`build` inspects the networks and writes the page; it needs torch. Drawing needs neither torch nor Ray.
"""
