"""A study on Ray: drivers for each kind of study, trials on warm worker groups, monitoring, and checks of a cluster.

It is the only folder that imports `ray.tune` and `ray.train`; Ray's private parts are in `ray_internals` alone.
"""
