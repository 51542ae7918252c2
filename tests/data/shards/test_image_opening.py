"""One photograph in any format, mode and orientation is one upright image; what cannot be known is an error."""

import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, TiffImagePlugin

from raysearch.core import UserError
from raysearch.data import preprocessing, shards

from ..layouts.trees import picture

X, Y = np.meshgrid(np.arange(48), np.arange(32))
UPRIGHT = np.stack([X * 5, Y * 7, 128 + X - Y], axis=-1).astype(np.uint8)  # no symmetry: each turn gives another image
GRAY = UPRIGHT[..., 0]

# How a camera stores an upright image (height, width, 3) under each orientation, from the definition in EXIF: row 0 of
# the stored image is the named edge of the scene, and column 0 the other one.
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda upright: upright,  # top, left
    2: lambda upright: upright[:, ::-1],  # top, right
    3: lambda upright: upright[::-1, ::-1],  # bottom, right
    4: lambda upright: upright[::-1],  # bottom, left
    5: lambda upright: upright.transpose(1, 0, 2),  # left, top
    6: lambda upright: upright[:, ::-1].transpose(1, 0, 2),  # right, top
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
    8: lambda upright: upright[::-1].transpose(1, 0, 2),  # left, bottom
}
LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}


def exif(orientation: Any) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def stored(orientation: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(STORED[orientation](UPRIGHT)))


def file(image: Image.Image, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def rows(data: bytes) -> np.ndarray:
    """Return the pixels of the row that an ingest makes of a file, decoded by Pillow alone."""
    kept, (width, height) = shards.to_rgb_jpeg(data)
    with Image.open(io.BytesIO(kept)) as image:
        assert image.size == (width, height)
        assert image.getexif().get(0x0112, 1) == 1  # whoever opens the row sees the same pixels
        assert shards.to_rgb_jpeg(kept)[0] == kept
        return np.asarray(image).astype(int)


def mean_difference(left: np.ndarray, right: np.ndarray) -> float:
    assert left.shape == right.shape
    return float(np.abs(left.astype(int) - right.astype(int)).mean())


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("format", ["JPEG", "MPO", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_orientation_of_every_format_is_upright(format: str, orientation: int) -> None:
    options = {"JPEG": {"quality": 95}, "MPO": {"quality": 95}, "AVIF": {"quality": 95}}.get(format, {})
    data = file(stored(orientation), format, exif=exif(orientation), **options)
    assert mean_difference(rows(data), UPRIGHT) < 4
    decoded = shards.decode_any(data, 24)
    expected = Image.fromarray(UPRIGHT).resize((24, 24), Image.Resampling.BILINEAR)
    assert mean_difference(decoded, np.asarray(expected)) < 4


@pytest.mark.parametrize("orientation", STORED)
def test_copies_of_a_photograph_in_lossless_formats_are_one_row(orientation: int) -> None:
    plain = shards.to_rgb_jpeg(file(Image.fromarray(UPRIGHT), "PNG"))
    for format, options in LOSSLESS.items():
        assert shards.to_rgb_jpeg(file(stored(orientation), format, exif=exif(orientation), **options)) == plain


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_tiff_file_is_turned_once(compression: str) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x0112] = 6
    assert (rows(file(stored(6), "TIFF", tiffinfo=tags, compression=compression)) == rows(file(stored(1), "PNG"))).all()


def test_an_orientation_behind_the_pixels_or_in_other_metadata_counts() -> None:
    whole = file(stored(6), "PNG", exif=exif(6))
    length, place = exif_chunk(whole)
    moved = whole[:place] + whole[place + length : -12] + whole[place : place + length] + whole[-12:]
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    raw = file(stored(6), "PNG", pnginfo=raw_profile(6))
    upright = rows(file(stored(1), "PNG"))
    for data in (moved, raw, file(stored(6), "WEBP", lossless=True, xmp=xmp)):
        assert (rows(data) == upright).all()
    assert mean_difference(rows(file(stored(6), "JPEG", quality=95, xmp=xmp)), UPRIGHT) < 4


def exif_chunk(png: bytes) -> tuple[int, int]:
    place = png.index(b"eXIf") - 4
    return struct.unpack(">I", png[place : place + 4])[0] + 12, place


def raw_profile(orientation: int) -> Any:
    from PIL.PngImagePlugin import PngInfo

    data = exif(orientation)
    info = PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(data):8}\n{data.hex()}\n")
    return info


def exif_entry(kind: int, count: int, value: bytes) -> bytes:
    """Return EXIF with one entry, the orientation, of any type and count."""
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01" + struct.pack("<HI", kind, count) + value.ljust(4, b"\0") + bytes(4)


BROKEN = {
    "empty": b"Exif\0\0",
    "no directory": b"Exif\0\0junk that is no directory",
    "a directory behind the end": b"Exif\0\0II*\0\xff\xff\xff\xff",
    "cut within the entry": exif_entry(3, 1, b"\6")[:-10],
    "orientation 0": exif(0),
    "orientation 9": exif(9),
    "orientation 65535": exif_entry(3, 1, b"\xff\xff"),
    "text": exif_entry(2, 2, b"6"),
    "an unknown type": exif_entry(99, 1, b"\6"),
    "no value": exif_entry(3, 0, b""),
    "a value behind the end": exif_entry(3, 900, b"\xff\xff\xff"),
    "a fraction": exif_entry(5, 1, b"\x08"),
}


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("name", BROKEN)
def test_metadata_that_cannot_be_read_turns_nothing(name: str) -> None:
    data = file(Image.fromarray(UPRIGHT), "JPEG", quality=95, exif=BROKEN[name])
    assert shards.to_rgb_jpeg(data)[0] is data
    assert mean_difference(rows(file(Image.fromarray(UPRIGHT), "PNG", exif=BROKEN[name])), UPRIGHT) < 4


def test_an_upright_jpeg_is_kept_and_a_turned_one_keeps_no_metadata() -> None:
    upright = file(stored(1), "JPEG", exif=exif(1))
    assert shards.to_rgb_jpeg(upright)[0] is upright
    kept, size = shards.to_rgb_jpeg(file(stored(6), "JPEG", exif=exif(6)))
    assert size == (48, 32)
    assert b"Exif" not in kept


def test_a_box_is_in_stored_pixels_and_its_crop_is_upright() -> None:
    """Second writing: cut the box out of the stored array, then turn it as `exif_transpose` does."""
    for orientation in STORED:
        image = stored(orientation)
        data = file(image, "PNG", exif=exif(orientation))
        cut = image.crop((3, 5, 23, 17))
        cut.info["exif"] = exif(orientation)
        turned = ImageOps.exif_transpose(cut)
        for side in (None, 10):
            expected = turned if side is None else turned.resize((side, side), Image.Resampling.BILINEAR)
            made = shards.decode_jpeg(shards.jpeg.crop_and_resize(data, (3, 5, 23, 17), side))
            assert mean_difference(made, np.asarray(expected)) < 3


@pytest.mark.parametrize("orientation", STORED)
def test_a_pillow_image_and_its_path_give_the_same_pixels(orientation: int, tmp_path: Any) -> None:
    prepare = preprocessing.Preprocessing(16, 1.0)
    for name in ("a.jpg", "a.png"):
        path = tmp_path / name
        stored(orientation).save(path, exif=exif(orientation))
        with Image.open(path) as image:
            assert (prepare.pixels(image) == prepare.pixels(path)).all()
            turned = ImageOps.exif_transpose(image)
        assert mean_difference(prepare.pixels(turned), prepare.pixels(path)) < 3


def tiff(values: np.ndarray, photometric: int = 1, **tags: Any) -> bytes:
    """Write a gray TIFF file by hand, in the byte order of the array: one strip, no compression."""
    order = ">" if values.dtype.byteorder == ">" else "<"
    formats = {"u": 1, "i": 2, "f": 3}
    entries = {
        256: ("H", values.shape[1]),
        257: ("H", values.shape[0]),
        258: ("H", values.dtype.itemsize * 8),
        259: ("H", 1),
        262: ("H", photometric),
        273: ("I", 0),
        277: ("H", 1),
        278: ("H", values.shape[0]),
        279: ("I", values.nbytes),
        339: ("H", formats[values.dtype.kind]),
    }
    for name, value in tags.items():
        entries[{"lowest": 340, "highest": 341}[name]] = ("f" if isinstance(value, float) else "I", value)
    entries[273] = ("I", 8 + 2 + 12 * len(entries) + 4)
    codes = {"H": 3, "I": 4, "f": 11}
    directory = struct.pack(f"{order}H", len(entries))
    for tag, (code, value) in sorted(entries.items()):
        directory += struct.pack(f"{order}HHI", tag, codes[code], 1)
        directory += struct.pack(f"{order}{code}", value).ljust(4, b"\0")
    head = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HI", 42, 8)
    return head + directory + bytes(4) + values.tobytes()


def png(values: np.ndarray, depth: int, *extra: tuple[bytes, bytes]) -> bytes:
    """Write a gray PNG file by hand, with further chunks before the pixels."""
    height, width = values.shape
    lines = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in values)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)), *extra]
    chunks += [(b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, body) for name, body in chunks)


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def pgm(values: np.ndarray, highest: int) -> bytes:
    data = values.astype(">u2" if highest > 255 else "u1").tobytes()
    return f"P5 {values.shape[1]} {values.shape[0]} {highest}\n".encode() + data


def scaled(highest: float, dtype: str) -> np.ndarray:
    return np.round(GRAY / 255 * highest).astype(dtype)


KNOWN = {
    "8-bit PNG": png(GRAY, 8),
    "16-bit PNG": png(scaled(65535, "u2"), 16),
    "16-bit PNG with 12 significant bits": png(scaled(65535, "u2"), 16, (b"sBIT", b"\x0c")),
    "PGM of 255": pgm(GRAY, 255),
    "PGM of 100": pgm(scaled(100, "u1"), 100),
    "PGM of 1023": pgm(scaled(1023, "u2"), 1023),
    "PGM of 65535": pgm(scaled(65535, "u2"), 65535),
    "16-bit TIFF": tiff(scaled(65535, "<u2")),
    "big-endian 16-bit TIFF": tiff(scaled(65535, ">u2")),
    "16-bit TIFF, white is zero": tiff(65535 - scaled(65535, "<u2"), 0),
    "big-endian 16-bit TIFF, white is zero": tiff(65535 - scaled(65535, ">u2"), 0),
    "16-bit TIFF that states 12 bits": tiff(scaled(4095, "<u2"), lowest=0, highest=4095),
    "8-bit TIFF that states 4 bits": tiff(scaled(15, "u1"), highest=15),
    "signed 16-bit TIFF that states its range": tiff(scaled(1000, "<i2"), lowest=0, highest=1000),
    "32-bit TIFF with 8-bit values": tiff(GRAY.astype("<i4")),
    "unsigned 32-bit TIFF with 8-bit values": tiff(GRAY.astype("<u4")),
    "32-bit TIFF that states 16 bits": tiff(scaled(65535, "<i4"), lowest=0, highest=65535),
    "float TIFF from 0 to 1": tiff((GRAY / 255).astype("<f4")),
    "big-endian float TIFF from 0 to 1": tiff((GRAY / 255).astype(">f4")),
    "float TIFF with 8-bit values": tiff(GRAY.astype("<f4")),
    "float TIFF that states its range": tiff((GRAY * 40.0 - 300).astype("<f4"), lowest=-300.0, highest=9900.0),
    "palette": file(Image.fromarray(GRAY).convert("P"), "PNG"),
    "palette in WebP": file(Image.fromarray(GRAY).convert("P"), "WEBP", lossless=True),
    "opaque alpha": file(Image.fromarray(GRAY).convert("LA"), "PNG"),
    "JPEG 2000 of 16 bits": file(Image.fromarray(scaled(65535, "u2")), "JPEG2000"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_gray_image_has_its_brightness_in_every_depth(name: str) -> None:
    row = rows(KNOWN[name])
    tolerance = 10 if "4 bits" in name else 2
    assert np.abs(row - GRAY[..., None].astype(int)).max() <= tolerance


def test_twelve_bits_of_a_tiff_file_are_its_range() -> None:
    values = scaled(4095, "u2").astype(int)
    pairs = values.reshape(-1, 2)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], axis=1)
    data = bytearray(tiff(packed.astype("u1").reshape(32, 72)))
    for entry in range(10):
        place = 10 + 12 * entry
        tag = struct.unpack_from("<H", data, place)[0]
        if tag in (256, 258):
            struct.pack_into("<H", data, place + 8, {256: 48, 258: 12}[tag])
    assert np.abs(rows(bytes(data)) - GRAY[..., None].astype(int)).max() <= 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tiff(scaled(60000, "<i4")), "integer samples, here 0 to 5"),
        (tiff(np.eye(8, dtype="<i4")), "integer samples, here 0 to 1"),
        (tiff(scaled(30000, "<i2")), "integer samples"),
        (tiff(scaled(100, "<i4") - 50), "integer samples, here -50 to "),
        (tiff(scaled(100, "i1")), "integer samples"),
        (tiff((GRAY * 20.5).astype("<f4")), "floating-point samples"),
        (tiff((GRAY / 100).astype("<f4")), "floating-point samples"),
        (tiff(scaled(7, "<i4")), "integer samples, here 0 to 6"),
        (tiff(np.full((4, 4), np.nan, "<f4")), "floating-point samples, here nan"),
    ],
)
def test_a_range_that_cannot_be_known_is_an_error(data: bytes, reason: str) -> None:
    with pytest.raises(shards.CorruptImage, match=f"the range of its {reason}.*; save it with 8 or 16 bits"):
        shards.to_rgb_jpeg(data)


MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I;16", "I;16B"]


@pytest.mark.parametrize("mode", [*MODES, "I;16L", "I;16N", "I", "F"])
def test_every_mode_of_pillow_is_read(mode: str) -> None:
    """A bright square on a dark ground stays one, whatever the mode."""
    square = np.full((16, 16), 40, np.uint8)
    square[4:12, 4:12] = 200
    gray = Image.fromarray(square)
    if mode.startswith("I;16"):
        image = Image.new(mode, gray.size)
        for y, x in np.ndindex(16, 16):
            image.putpixel((x, y), int(square[y, x]) * 257)
    elif mode in ("La", "RGBa", "PA"):
        image = gray.convert({"La": "LA", "RGBa": "RGBA", "PA": "P"}[mode]).convert(mode)
    elif mode == "1":
        image = Image.fromarray(square > 100)
    else:
        image = (gray if mode in ("L", "LA", "P", "I", "F") else gray.convert("RGB")).convert(mode)
    assert image.mode == mode
    pixels = preprocessing.Preprocessing(16, 1.0).pixels(image).astype(int)
    dark, bright = (0, 255) if mode == "1" else (40, 200)
    assert abs(pixels[8, 8] - bright).max() <= 12
    assert abs(pixels[1, 1] - dark).max() <= 12


def test_transparency_in_sixteen_bits_is_white() -> None:
    values = scaled(65535, "u2")
    values[:8, :8] = 12345
    row = rows(png(values, 16, (b"tRNS", struct.pack(">H", 12345))))
    assert row[2:6, 2:6].min() >= 250
    assert np.abs(row[16:, 16:] - GRAY[16:, 16:, None].astype(int)).max() <= 2


def test_the_stored_images_of_these_tests_are_what_pillow_turns() -> None:
    for orientation in STORED:
        with Image.open(io.BytesIO(file(stored(orientation), "PNG", exif=exif(orientation)))) as image:
            assert (np.asarray(ImageOps.exif_transpose(image)) == UPRIGHT).all()


def test_a_large_image_can_be_refused_and_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    large = file(Image.new("1", (4_000, 3_000)), "PNG")
    monkeypatch.setenv("RAYSEARCH_MAX_PIXELS", "10_000_000")
    with pytest.raises(shards.CorruptImage, match=r"4,000 x 3,000 are more than 10,000,000 pixels.*RAYSEARCH_MAX"):
        shards.to_rgb_jpeg(large)
    monkeypatch.setenv("RAYSEARCH_MAX_PIXELS", "12000000")
    assert shards.to_rgb_jpeg(large)[1] == (4_000, 3_000)
    for text in ("many", "0", "-5", ""):
        monkeypatch.setenv("RAYSEARCH_MAX_PIXELS", text)
        with pytest.raises(UserError, match="RAYSEARCH_MAX_PIXELS is a number of pixels, such as 400000000, not"):
            shards.to_rgb_jpeg(large)


SCRIPT = """
import pathlib
import sys
from raysearch.data import shards
for path in sys.argv[1:]:
    data = pathlib.Path(path).read_bytes()
    try:
        with shards.image_opening.open_image(data, path) as image:
            print(image.size)
    except shards.CorruptImage as error:
        print(error)
"""


def test_warnings_name_the_file(tmp_path: Path) -> None:
    """In a process of its own, since Pillow's limit and Python's filters of warnings belong to the process."""
    large = tmp_path / "large.png"
    huge = tmp_path / "huge.png"
    odd = tmp_path / "odd.jpg"
    large.write_bytes(png_header(13_000, 9_000))
    huge.write_bytes(png_header(20_000, 10_000))
    odd.write_bytes(file(stored(1), "JPEG", exif=BROKEN["a value behind the end"]))
    command = [sys.executable, "-W", "always", "-c", SCRIPT, str(large), str(huge), str(odd)]
    plain = subprocess.run(command, capture_output=True, text=True, check=True)
    assert plain.stdout.splitlines() == [
        "(13000, 9000)",
        "it has more than 178,956,970 pixels, the limit; allow more by RAYSEARCH_MAX_PIXELS, such as 400000000",
        "(48, 32)",
    ]
    assert plain.stderr == f"{large}: a large image, 13,000 x 9,000 pixels\n"
    allowed = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "RAYSEARCH_MAX_PIXELS": "200000000"}
    )
    assert allowed.stdout.splitlines() == ["(13000, 9000)", "(20000, 10000)", "(48, 32)"]


def png_header(width: int, height: int) -> bytes:
    """Return the beginning of a PNG file that decodes to many pixels."""
    size = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", size) + png_chunk(b"IDAT", bytes(4))


@pytest.mark.parametrize(("side", "problem"), [(100_000, "4,096 pixels or less"), (0, "1 pixel or more")])
def test_a_side_is_checked_before_anything_is_read(side: int, problem: str) -> None:
    def read() -> bytes:
        raise AssertionError("an image was read")

    with pytest.raises(UserError, match=f"--side must be {problem}"):
        shards.reshape_samples([shards.Sample("a.jpg", "a", "train", read)], None, side)


@pytest.mark.parametrize("first", ["source_tree.image_endings()", "shards.to_rgb_jpeg(data)"])
def test_a_jpeg_is_not_tried_by_rare_formats_first(first: str) -> None:
    """Pillow tries its formats in the order of `Image.ID`; some read on before they refuse a file."""
    code = (
        "from PIL import Image\n"
        "from raysearch.data import shards, source_tree\n"
        f"data = {picture()!r}\n"
        f"{first}\n"
        "print(Image.ID.index('JPEG'))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) < 5
