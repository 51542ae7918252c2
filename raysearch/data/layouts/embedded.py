"""The embedded data set as a layout: nothing lies on disk, SRC is `-` or its settings."""

from raysearch.data.layouts.layout import Layout, refuse_test_fraction
from raysearch.data.layouts.listing import Listing


def synthetic(src: str, test_fraction: float | None = None) -> Listing:
    """The embedded data set; SRC is `-` or settings such as `classes=20,side=64,seed=0` (fields of synthetic.Spec)."""
    from raysearch.data import synthetic as drawn

    refuse_test_fraction(test_fraction, "train_per_class and test_per_class settings")
    return Listing(tuple(drawn.list_samples(drawn.parse_spec(src))))


LAYOUT = Layout(
    about="the embedded data set, drawn",
    looks_for="",
    recognise=lambda root: "",
    read=synthetic,
)
