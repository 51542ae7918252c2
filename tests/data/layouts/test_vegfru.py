"""VegFru: one list over two folders, names in both, files in every mode."""

from pathlib import Path

from raysearch.data import layouts, shards

from .trees import picture, put, read, reasons, rows, written

VEG, FRU = "veg200_images", "fru92_images"


def tree(root: Path) -> Path:
    return put(
        root / "vegfru",
        {
            "vegfru_list/vegfru_train.txt": f"{VEG}/wild rice/v 1.jpg 0\n{VEG}/olive/v_2.jpg 1\n"
            f"{FRU}/olive/f_1.jpg 2\n",
            "vegfru_list/vegfru_val.txt": f"{FRU}/fig/f_2.jpg 10\n",
            "vegfru_list/vegfru_test.txt": f"{FRU}/fig/f_3.jpg 10\n{VEG}/olive/v_3.jpg 1\n",
            "vegfru_list/supvegfru_train.txt": f"{VEG}/olive/v_2.jpg 24\n",
            f"{VEG}/wild rice/v 1.jpg": picture("RGBA", "PNG"),
            f"{VEG}/olive/v_2.jpg": picture("P", "PNG"),
            f"{VEG}/olive/v_3.jpg": picture("L"),
            f"{FRU}/olive/f_1.jpg": picture("CMYK"),
            f"{FRU}/fig/f_2.jpg": picture("LA", "PNG"),
            f"{FRU}/fig/f_3.jpg": picture(),
        },
    ).parent


def test_samples_in_three_parts(tmp_path: Path) -> None:
    src = tree(tmp_path / "src")
    found = read("vegfru", src)
    assert rows(found) == {
        (f"{VEG}/wild rice/v 1.jpg", "wild rice", "train"),
        (f"{VEG}/olive/v_2.jpg", f"{VEG}/olive", "train"),
        (f"{VEG}/olive/v_3.jpg", f"{VEG}/olive", "test"),
        (f"{FRU}/olive/f_1.jpg", f"{FRU}/olive", "train"),
        (f"{FRU}/fig/f_2.jpg", "fig", "val"),
        (f"{FRU}/fig/f_3.jpg", "fig", "test"),
    }
    assert found.classes == ("wild rice", f"{VEG}/olive", f"{FRU}/olive", "fig")
    assert written(found, tmp_path / "out").images == 6  # every mode became RGB
    assert layouts.detect_layout(str(src))[0].name == "vegfru"


def test_a_wrong_label_spoils_its_image_and_not_the_class(tmp_path: Path) -> None:
    src = tree(tmp_path)
    put(src / "vegfru", {"vegfru_list/vegfru_val.txt": f"{FRU}/fig/f_2.jpg 1\n{VEG}/olive/v_4.jpg 1\n"})
    put(src / "vegfru", {f"{VEG}/olive/v_4.jpg": picture()})
    found = read("vegfru", src)
    says = f"its label is 1, which is {VEG}/olive; its folder says otherwise"
    assert reasons(found) == {f"{FRU}/fig/f_2.jpg": says}
    assert len(found) == 6


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    src = tree(tmp_path / "src")
    whole = picture(size=(64, 64))
    put(src / "vegfru", {f"{FRU}/fig/f_3.jpg": whole[:-40]})
    found = read("vegfru", src)
    manifest = shards.write_shards(found, tmp_path / "out", name="n", layout="vegfru", classes=found.classes)
    assert [bad.source for bad in manifest.corrupt] == [f"{FRU}/fig/f_3.jpg"]
    assert manifest.images == 5
