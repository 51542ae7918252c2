"""Compare the update of the database codes at the size of Food-101: raysearch's, and the published form.

    python benchmarks/adsh.py [--quick] [--bits-timed 3] [--threads 1]

The plain update follows the printed equations (ADSH: Jiang and Li, AAAI 2018; FCAENet's 16 and 17), as public programs
evaluate them. It builds the similarity S (n x r). For every bit it then builds the product of the other bits of V and U
(n x r) and multiplies that with the bit of U. raysearch uses class sums and one c x c Gram matrix instead. Both compute
in float32 on the CPU and start from the same codes. Legend: n database rows, r sampled rows, c bits.

A bit is the sign of its drive. Where the two sides differ in a bit, the drive has to be within float32's rounding of
zero; later bits of that row follow from the first. At a smaller size in float64 the codes have to be equal. The last
line is JSON: the ratio of seconds (plain / raysearch), its spread, the differences, and the seconds.
"""

import statistics
from typing import NamedTuple

import torch
from measuring import THREADS, alternate, machine, ratio
from script import make_parser, print_figures
from torch import Tensor

from raysearch.models.adsh import similarity_ratio, update_codes

GAMMA = 200.0
CPU = torch.device("cpu")
ROUNDINGS = 64  # a drive's allowed error, in units in the last place of the sum of absolute terms


class Problem(NamedTuple):
    """The input of an update."""

    codes: Tensor  # (n, c) in {-1, +1}
    u: Tensor  # (r, c) in (-1, 1)
    sample: Tensor  # (r,) rows of the database
    labels: Tensor  # (n,)
    rho: float


class Size(NamedTuple):
    """The sizes of a problem."""

    rows: int
    sampled: int
    bits: int
    classes: int


FOOD101 = Size(75_750, 2_000, 48, 101)
QUICK = Size(6_060, 400, 16, 101)
CHECK = Size(2_020, 200, 24, 101)  # compared in float64


def draw_problem(size: Size, dtype: torch.dtype) -> Problem:
    """Draw classes of equal size, outputs around one center per class, and random codes."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(size.rows) % size.classes
    sample = torch.randperm(size.rows, generator=draw)[: size.sampled]
    centers = torch.randn(size.classes, size.bits, generator=draw, dtype=dtype)
    noise = torch.randn(size.sampled, size.bits, generator=draw, dtype=dtype)
    codes = torch.randint(2, (size.rows, size.bits), generator=draw).to(dtype) * 2 - 1
    u = torch.tanh(0.3 * (centers[labels[sample]] + noise))
    return Problem(codes, u, sample, labels, similarity_ratio(labels[sample], labels))


def plain_update(problem: Problem, bits: int) -> Tensor:
    """Update the first `bits` bits by equation 17 as printed, in O(n r c) per bit; return codes (n, c)."""
    codes, u, sample, labels, rho = problem
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


def our_update(problem: Problem) -> Tensor:
    """Update all bits with raysearch; return codes (n, c)."""
    return update_codes(problem.codes, problem.u, problem.sample, problem.labels, GAMMA, rho=problem.rho)


def differing(problem: Problem, plain: Tensor, ours: Tensor, bits: int) -> tuple[int, int]:
    """Compare two outcomes of an update.

    Args:
        problem: the input of both.
        plain: (n, c) codes of the plain update.
        ours: (n, c) codes of raysearch.
        bits: number of bits to compare, from the first.

    Returns:
        The number of bits that differ, and the number of rows that rounding does not explain.
    """
    differs = (plain != ours)[:, :bits]
    rows = differs.any(1).nonzero()[:, 0]
    if not len(rows):
        return 0, 0
    first = differs[rows].int().argmax(1)
    # Up to its first differing bit a row is equal in both. Compute its drive there in float64 from class sums.
    u = problem.u.double()
    c = problem.codes.shape[1]
    state = torch.where(torch.arange(c) < first[:, None], ours[rows], problem.codes[rows]).double()
    state[torch.arange(len(rows)), first] = 0
    similar = torch.where(problem.labels[rows][:, None] == problem.labels[problem.sample], 1.0, -problem.rho).double()
    sampled_outputs = torch.zeros(len(problem.codes), c, dtype=torch.float64).index_copy_(0, problem.sample, u)[rows]

    def _at_first(table: Tensor) -> Tensor:
        return table.gather(1, first[:, None])[:, 0]

    drive = _at_first(c * similar @ u + GAMMA * sampled_outputs - state @ (u.T @ u))
    terms = _at_first(c * similar.abs() @ u.abs() + GAMMA * sampled_outputs.abs() + state.abs() @ (u.abs().T @ u.abs()))
    rounding = ROUNDINGS * torch.finfo(problem.u.dtype).eps * terms
    return int(differs.sum()), int((drive.abs() > rounding).sum())


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__, quick=f"{QUICK.rows:,} rows instead of {FOOD101.rows:,}")
    parser.add_argument("--bits-timed", type=int, help="time the plain update for this many bits, and scale to all")
    parser.add_argument("--threads", type=int, help=THREADS)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    size = QUICK if arguments.quick else FOOD101
    bits = min(arguments.bits_timed or size.bits, size.bits)
    print(machine(CPU))

    small = draw_problem(CHECK, torch.float64)
    if not torch.equal(plain_update(small, CHECK.bits), our_update(small)):
        raise SystemExit("in float64 the two updates give different codes; compare plain_update with update_codes")
    print(f"float64, {CHECK.rows:,} rows: equal codes")

    problem = draw_problem(size, torch.float32)
    ours = our_update(problem)
    bits_apart, rows_wrong = differing(problem, plain_update(problem, bits), ours, bits)
    print(
        f"float32, {size.rows:,} rows x {size.sampled:,} sampled x {size.bits} bits: {bits_apart} of "
        f"{size.rows * bits:,} bits differ; in {rows_wrong} rows the first differing bit is not a rounding error"
    )
    if rows_wrong:
        raise SystemExit("in float32 the two updates give different codes beyond rounding; compare them in float64")

    calls = {"plain": lambda: plain_update(problem, bits), "raysearch": lambda: our_update(problem)}
    if bits < size.bits:
        calls["start"] = lambda: plain_update(problem, 0)
    seconds = alternate(calls, repeats=3, device=CPU)
    if bits < size.bits:
        rest = size.bits / bits
        seconds["plain"] = [
            start + (plain - start) * rest for start, plain in zip(seconds["start"], seconds["plain"], strict=True)
        ]
        print(f"the plain update was timed for {bits} of {size.bits} bits; its seconds are scaled to all")
    speedup = ratio(seconds["plain"], seconds["raysearch"])
    for name in ("plain", "raysearch"):
        print(f"{name:10} {statistics.median(seconds[name]):8.3f} s   (median of {len(seconds[name])} turns)")
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
        "seconds": {name: seconds[name] for name in ("plain", "raysearch")},
    }
    print_figures(figures)


if __name__ == "__main__":
    main()
