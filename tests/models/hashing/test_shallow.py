"""What all shallow methods share: shapes, seeds, saving, and inputs that are refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from raysearch.core import UserError
from raysearch.models import hashing
from raysearch.models.hashing import encoder as encoder_module

NAMES = ("lsh", "sh", "itq", "sdh")
# How far sums in another order move a state: close anchors leave SDH's regression with a condition number near 10^7.
ROUNDING = {"lsh": 1e-9, "sh": 1e-9, "itq": 1e-9, "sdh": 1e-3}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def clusters(n: int = 120, d: int = 16, classes: int = 5, spread: float = 0.3) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % classes
    centres = torch.randn(classes, d, generator=draw)
    return (centres[labels] + spread * torch.randn(n, d, generator=draw)).abs(), 3 * labels


def test_names() -> None:
    assert set(hashing.METHODS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_codes_are_signs_of_single_precision(name: str, dtype: torch.dtype) -> None:
    features, labels = clusters()
    encoder = hashing.fit(name, features.to(dtype), labels, 12)
    codes = encoder(features.to(dtype)[:50])
    assert codes.shape == (50, 12)
    assert codes.dtype == torch.float32
    assert (codes.abs() == 1).all()
    assert ((codes == 1).any(0) & (codes == -1).any(0)).sum() >= 10  # next to no bit is the same everywhere
    assert encoder(features[:0]).shape == (0, 12)
    assert not list(encoder.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_codes_of_one_class_are_closer_than_those_of_two(name: str) -> None:
    features, labels = clusters()
    codes = hashing.fit(name, features, labels, 12)(features)
    distance = (12 - codes @ codes.T) / 2
    same = labels[:, None] == labels
    assert distance[same].mean() < 0.5 * distance[~same].mean()


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides_everything_and_the_surroundings_nothing(name: str) -> None:
    features, labels = clusters()
    first = hashing.fit(name, features, labels, 12, seed=3).state_dict()
    torch.manual_seed(99)
    for key, value in hashing.fit(name, features.clone(), labels.clone(), 12, seed=3).state_dict().items():
        assert torch.equal(value, first[key])
    strided = features.T.contiguous().T.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = hashing.fit(name, strided, labels, 12, seed=3)
        codes = again(features)
    for key, value in again.state_dict().items():
        torch.testing.assert_close(value, first[key], rtol=ROUNDING[name], atol=ROUNDING[name])
    assert torch.equal(codes, hashing.restore(name, first)(features))
    other = hashing.fit(name, features, labels, 12, seed=4)
    assert torch.equal(other(features), codes) == (name == "sh")


@pytest.mark.parametrize("name", NAMES)
def test_no_number_depends_on_the_blocks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = clusters()
    whole = hashing.fit(name, features, labels, 12)
    monkeypatch.setattr(encoder_module, "_ROWS", 7)
    assert [len(rows) for rows in encoder_module.blocks(features)] == [7] * 17 + [1]
    parts = hashing.fit(name, features, labels, 12)
    for key, value in parts.state_dict().items():
        torch.testing.assert_close(value, whole.state_dict()[key], rtol=ROUNDING[name], atol=ROUNDING[name])
    assert torch.equal(parts(features), whole(features))


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_encoder_gives_the_same_codes(name: str, tmp_path: Path) -> None:
    features, labels = clusters()
    encoder = hashing.fit(name, features, labels, 12)
    torch.save(encoder.state_dict(), tmp_path / "encoder.pt")
    again = hashing.restore(name, torch.load(tmp_path / "encoder.pt", weights_only=True))
    assert type(again) is type(encoder)
    assert torch.equal(again(features), encoder(features))
    other = hashing.fit(name, features + torch.rand(16), labels.flip(0), 12, seed=1)
    assert not torch.equal(other(features), encoder(features))
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(other(features), encoder(features))


@pytest.mark.parametrize("name", ["lsh", "sh", "itq"])
def test_labels_and_the_place_of_the_origin_are_nothing_to_unsupervised_methods(name: str) -> None:
    features, labels = clusters()
    features = features.double()
    codes = hashing.fit(name, features, None, 12)(features)
    assert torch.equal(hashing.fit(name, features, labels, 12)(features), codes)
    moved = features + 4.0
    assert torch.equal(hashing.fit(name, moved, None, 12)(moved), codes)


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_channel_changes_no_code(name: str) -> None:
    features, labels = clusters()
    features = features.double()
    more = torch.cat([features, torch.full((120, 1), 2.5, dtype=torch.float64)], dim=1)
    if name == "lsh":  # draws other numbers for another width
        codes = hashing.fit(name, more, labels, 12)(more)
        more = more.index_fill(1, torch.tensor([16]), -7.0)
    else:
        codes = hashing.fit(name, features, labels, 12)(features)
    assert torch.equal(hashing.fit(name, more, labels, 12)(more), codes)


@pytest.mark.parametrize("name", ["lsh", "sh", "sdh"])
def test_more_bits_than_channels(name: str) -> None:
    features, labels = clusters(d=3)
    codes = hashing.fit(name, features, labels, 10)(features)
    assert codes.shape == (120, 10)
    assert len(codes.T.unique(dim=0)) > 3


@pytest.mark.parametrize("name", NAMES)
def test_more_bits_than_images(name: str) -> None:
    features, labels = clusters(n=6)
    assert hashing.fit(name, features, labels, 12)(features).shape == (6, 12)


def one_line(call: Callable[[], object], kind: type[Exception] = ValueError) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_unknown_names_are_told_the_nearest() -> None:
    features, labels = clusters()
    assert "'itq'" in one_line(lambda: hashing.fit("itqq", features, labels, 4), UserError)
    assert "'lsh'" in one_line(lambda: hashing.restore("lhs", {}), UserError)
    assert "'iterations'" in one_line(lambda: hashing.fit("itq", features, labels, 4, iteration=3), UserError)
    assert "'nu'" in one_line(lambda: hashing.fit("sdh", features, labels, 4, nus=3), UserError)
    assert "'seeds'" in one_line(lambda: hashing.fit("lsh", features, labels, 4, seeds=3), UserError)


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_work_is_refused(name: str) -> None:
    features, labels = clusters()

    def refusal(features: Tensor, labels: Tensor, bits: int = 4) -> str:
        return one_line(lambda: hashing.fit(name, features, labels, bits))

    for wrong in (features[0], features[None], features.long(), features[:, :0]):
        assert "(n, d) floats" in refusal(wrong, labels)
    for wrong in (labels[:-1], labels[:, None], labels.float()):
        assert "labels" in refusal(features, wrong)
    for few in (0, 1):
        assert f"{few} images" in refusal(features[:few], labels[:few])
    for bits in (0, -1):
        assert f"bits={bits}" in refusal(features, labels, bits)
    assert "the same" in refusal(features[:1].expand(9, -1), labels[:9])
    for value in (float("nan"), float("inf")):
        holed = features.clone()
        holed[7, 3] = value
        assert "not finite" in refusal(holed, labels)
        encoder = hashing.fit(name, features, labels, 4)
        assert "not finite" in one_line(lambda encoder=encoder, holed=holed: encoder(holed))
    for wrong in (features[:, 1:], features[0]):
        assert "(n, 16)" in one_line(lambda encoder=encoder, wrong=wrong: encoder(wrong))


def test_what_one_method_alone_refuses() -> None:
    features, labels = clusters(d=6)
    message = one_line(lambda: hashing.fit("itq", features, labels, 7))
    assert "bits=7" in message
    assert "channels=6" in message
    assert "labels" in one_line(lambda: hashing.fit("sdh", features, None, 4))
    assert "one class" in one_line(lambda: hashing.fit("sdh", features, torch.full((120,), 8), 4))
    assert "anchors=1" in one_line(lambda: hashing.fit("sdh", features, labels, 4, anchors=1))
    mostly_one = features[:1].repeat(120, 1)
    mostly_one[:9] = features[:9]
    assert "width" in one_line(lambda: hashing.fit("sdh", mostly_one, labels, 4))
    hashing.fit("sdh", mostly_one, labels, 4, width=1.0)


def test_the_state_of_another_method_is_refused() -> None:
    features, labels = clusters()
    message = one_line(lambda: hashing.restore("sh", hashing.fit("sdh", features, labels, 4).state_dict()))
    assert "frequency" in message
    assert "anchors" in message
    assert "nothing" in one_line(lambda: hashing.restore("sh", {}))
