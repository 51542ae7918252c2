"""The update of the database codes at the size of Food-101: raysearch's, and the published one written plainly.

    python benchmarks/adsh.py [--quick] [--bits-timed 3] [--threads 1]

The plain one follows ADSH's equations (Jiang and Li, AAAI 2018; FCAENet's 16 and 17) as they are printed and as public
programs evaluate them: it builds the similarity S (n x r), and for every bit the product of the other bits of V and U
(n x r) before it multiplies with the bit of U. raysearch uses class sums and one c x c Gram matrix instead. Both
compute in float32 on the CPU and start from the same codes; n database rows, r sampled ones, c bits.

Where the two differ in a bit, the drive, whose sign the bit is, has to be within float32's rounding of zero; later bits
of such a row follow from the first. At a smaller size in float64 the codes have to be the same. The last line is JSON:
the ratio of seconds (plain / raysearch), its spread, what differed, and the seconds.
"""

import argparse
import json
import statistics
import sys
from typing import NamedTuple

import torch
from measuring import THREADS, alternate, machine, ratio
from torch import Tensor

from raysearch.models.adsh import similarity_ratio, update_codes

GAMMA = 200.0
CPU = torch.device("cpu")
ROUNDINGS = 64  # units in the last place of the sum of absolute terms that a drive may be off


class Problem(NamedTuple):
    codes: Tensor  # (n, c) in {-1, +1}
    u: Tensor  # (r, c) in (-1, 1)
    sample: Tensor  # (r,) rows of the database
    labels: Tensor  # (n,)
    rho: float


class Size(NamedTuple):
    rows: int
    sampled: int
    bits: int
    classes: int


FOOD101 = Size(75_750, 2_000, 48, 101)
QUICK = Size(6_060, 400, 16, 101)
CHECK = Size(2_020, 200, 24, 101)  # in float64


def problem(size: Size, dtype: torch.dtype) -> Problem:
    """Classes of one size, outputs around a centre a class, random codes."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(size.rows) % size.classes
    sample = torch.randperm(size.rows, generator=draw)[: size.sampled]
    centres = torch.randn(size.classes, size.bits, generator=draw, dtype=dtype)
    noise = torch.randn(size.sampled, size.bits, generator=draw, dtype=dtype)
    codes = torch.randint(2, (size.rows, size.bits), generator=draw).to(dtype) * 2 - 1
    u = torch.tanh(0.3 * (centres[labels[sample]] + noise))
    return Problem(codes, u, sample, labels, similarity_ratio(labels[sample], labels))


def plain_update(given: Problem, bits: int) -> Tensor:
    """Equation 17 as printed, for the first `bits` bits; O(n r c) a bit."""
    codes, u, sample, labels, rho = given
    c = codes.shape[1]
    similarity = torch.where(labels[:, None] == labels[sample], 1.0, -rho).to(u.dtype)  # (n, r)
    scattered = torch.zeros_like(codes)
    scattered[sample] = u
    q = -2 * c * similarity @ u - 2 * GAMMA * scattered
    codes = codes.clone()
    for bit in range(bits):
        others = [other for other in range(c) if other != bit]
        drive = 2 * (codes[:, others] @ u[:, others].T) @ u[:, bit] + q[:, bit]
        codes[:, bit] = torch.where(drive == 0, codes[:, bit], -drive.sign())
    return codes


def our_update(given: Problem) -> Tensor:
    return update_codes(given.codes, given.u, given.sample, given.labels, GAMMA, rho=given.rho)


def differing(given: Problem, plain: Tensor, ours: Tensor, bits: int) -> tuple[int, int]:
    """In how many of the first `bits` bits two outcomes differ, and in how many rows not because of rounding."""
    differs = (plain != ours)[:, :bits]
    rows = differs.any(1).nonzero()[:, 0]
    if not len(rows):
        return 0, 0
    first = differs[rows].int().argmax(1)
    # Until its first differing bit a row is the same in both: its drive there, in float64 and by class sums.
    u = given.u.double()
    c = given.codes.shape[1]
    state = torch.where(torch.arange(c) < first[:, None], ours[rows], given.codes[rows]).double()
    state[torch.arange(len(rows)), first] = 0
    similar = torch.where(given.labels[rows][:, None] == given.labels[given.sample], 1.0, -given.rho).double()
    sampled_outputs = torch.zeros(len(given.codes), c, dtype=torch.float64).index_copy_(0, given.sample, u)[rows]

    def at_first(table: Tensor) -> Tensor:
        return table.gather(1, first[:, None])[:, 0]

    drive = at_first(c * similar @ u + GAMMA * sampled_outputs - state @ (u.T @ u))
    terms = at_first(c * similar.abs() @ u.abs() + GAMMA * sampled_outputs.abs() + state.abs() @ (u.abs().T @ u.abs()))
    rounding = ROUNDINGS * torch.finfo(given.u.dtype).eps * terms
    return int(differs.sum()), int((drive.abs() > rounding).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK.rows:,} rows instead of {FOOD101.rows:,}")
    parser.add_argument("--bits-timed", type=int, help="of the plain update; the seconds of the others are inferred")
    parser.add_argument("--threads", type=int, help=THREADS)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    size = QUICK if arguments.quick else FOOD101
    bits = min(arguments.bits_timed or size.bits, size.bits)
    print(machine(CPU))

    small = problem(CHECK, torch.float64)
    if not torch.equal(plain_update(small, CHECK.bits), our_update(small)):
        sys.exit("in float64 the two updates give different codes")
    print(f"float64, {CHECK.rows:,} rows: the same codes")

    given = problem(size, torch.float32)
    ours = our_update(given)
    bits_apart, rows_wrong = differing(given, plain_update(given, bits), ours, bits)
    print(
        f"float32, {size.rows:,} rows x {size.sampled:,} sampled x {size.bits} bits: {bits_apart} of "
        f"{size.rows * bits:,} bits differ; {rows_wrong} rows whose first differing bit is no rounding of zero"
    )
    if rows_wrong:
        sys.exit("in float32 the two updates give different codes, and it is not rounding")

    calls = {"plain": lambda: plain_update(given, bits), "raysearch": lambda: our_update(given)}
    if bits < size.bits:
        calls["start"] = lambda: plain_update(given, 0)
    taken = alternate(calls, repeats=3, device=CPU)
    if bits < size.bits:
        rest = size.bits / bits
        taken["plain"] = [
            start + (plain - start) * rest for start, plain in zip(taken["start"], taken["plain"], strict=True)
        ]
        print(f"the plain update was timed for {bits} of {size.bits} bits; its seconds are scaled to all")
    speedup = ratio(taken["plain"], taken["raysearch"])
    for name in ("plain", "raysearch"):
        print(f"{name:10} {statistics.median(taken[name]):8.3f} s   (of {len(taken[name])} turns, the median)")
    print(f"the plain update takes {speedup}")
    figures = {
        "seconds_ratio": speedup.median,
        "seconds_ratio_lowest": speedup.lowest,
        "seconds_ratio_highest": speedup.highest,
        "bits_that_differ": bits_apart,
        "rows_that_differ_beyond_rounding": rows_wrong,
        "bits_timed": bits,
        "threads": torch.get_num_threads(),
        "size": size._asdict(),
        "seconds": {name: taken[name] for name in ("plain", "raysearch")},
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
