"""The embedded data set as a layout: nothing is on disk, and SRC is `-` or settings of the drawings."""

from raysearch.data.layouts.layout import Layout, refuse_test_fraction, register_layout
from raysearch.data.layouts.listing import Listing


def read_synthetic(src: str, test_fraction: float | None = None) -> Listing:
    """List the embedded data set.

    Args:
        src: `-` or settings such as `classes=20,side=64,seed=0` (fields of `SyntheticSpec`).
        test_fraction: must be None.

    Raises:
        UserError: a wrong setting, or a test fraction.
    """
    from raysearch.data import synthetic as drawings  # loads Pillow, which other layouts do not need here

    refuse_test_fraction(test_fraction, "train_per_class and test_per_class settings")
    spec = drawings.parse_spec(src)
    return Listing(tuple(drawings.list_samples(spec)), warnings=drawings.planted_effects(spec))


LAYOUT = register_layout(
    Layout(
        name="synthetic",
        about="the embedded data set, drawn",
        looks_for="",
        recognize=lambda root: "",
        read=read_synthetic,
    )
)
