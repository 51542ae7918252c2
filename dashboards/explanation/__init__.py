"""The report of an explanation: what each change from the reference of a search to its best config gains.

It draws the path as a waterfall with intervals. Private to `dashboards`; `report` is the door.
"""
