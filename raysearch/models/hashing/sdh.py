"""Supervised discrete hashing (SDH): Shen, Shen, Liu and Shen, CVPR 2015.

Codes B are learned as binary variables. A linear classifier W predicts the class from them, and a kernel machine P maps
features to them:

    min  ||Y - B W||^2 + lam ||W||^2 + nu ||B - phi(F) P||^2,   phi(f)_j = exp(-width ||f - a_j||^2)

with anchors a_j drawn from the features. W, P and B are optimized in turn, each exactly; B is solved bit by bit
(discrete cyclic coordinate descent). So the objective never grows. The largest matrix in memory is phi (n, m). Legend:
`n` images, `m` anchors, `c` bits, `K` classes, B (n, c), Y (n, K), W (c, K), P (m, c).

Departures: the codes of the database are sign(phi P), as queries' are. P has a small ridge against rounding, which the
objective then counts as nu ridge ||P||^2; the equation has none. The kernel's width follows the features' scale unless
given (the paper's features are of one scale). The authors' program has a ridge of 1e-2, and a column of ones in phi;
`ridge=1e-2, bias=True` do as it does. It also divides features by their length and takes the kernel
exp(-||f - a||^2 / (2 0.4^2)), of which `width=3.125` is the second half.
"""

import torch
from torch import Tensor
from torch.nn import functional

from raysearch.models.hashing.encoder import Encoder, blocks

RIDGE = 1e-6  # of P, unless another is given


class KernelEncoder(Encoder):
    """Encodes by sign(phi(f) P).

    Args:
        anchors: (m, d) float64.
        width: () float64.
        directions: (m, c) float64, P; (m + 1, c) with a bias, its last row.
    """

    anchors: Tensor
    width: Tensor
    directions: Tensor

    def __init__(self, anchors: Tensor, width: Tensor, directions: Tensor) -> None:
        super().__init__(channels=anchors.shape[1])
        self.register_buffer("anchors", anchors)
        self.register_buffer("width", width)
        self.register_buffer("directions", directions)

    def scores(self, rows: Tensor) -> Tensor:
        """Return phi P (b, c) for features (b, d)."""
        anchors = len(self.anchors)
        return kernel(rows, self.anchors, self.width) @ self.directions[:anchors] + self.directions[anchors:].sum(0)


def fit(
    features: Tensor,
    labels: Tensor | None,
    bits: int,
    seed: int,
    *,
    anchors: int = 1000,
    width: float | None = None,
    iterations: int = 5,
    sweeps: int = 100,
    lam: float = 1.0,
    nu: float = 1e-5,
    ridge: float = RIDGE,
    bias: bool = False,
) -> KernelEncoder:
    """Learn codes, classifier and kernel machine.

    Args:
        features: (n, d).
        labels: (n,) integers, of at least two classes.
        bits: c.
        seed: the seed of the anchors and of the starting codes.
        anchors: m; all images if there are fewer.
        width: the width of the kernel; None: 1 / (2 median^2) of the distances between anchors.
        iterations: number of turns; it stops early when nothing changes.
        sweeps: over the bits in a turn, at most; it stops early when nothing changes.
        lam: weight of ||W||^2.
        nu: weight of the kernel machine's error.
        ridge: weight of ||P||^2 beside that error.
        bias: whether phi has a column of ones, as in the authors' program.

    Raises:
        ValueError: no labels, a single class, or no width and anchors that are mostly equal.
    """
    if labels is None:
        raise ValueError("sdh learns from labels; got none")
    classes, labels = labels.to(features.device).unique(return_inverse=True)
    if len(classes) < 2:
        raise ValueError("sdh needs images of at least two classes, got one class")
    if anchors < 2:
        raise ValueError(f"sdh needs at least two anchors, got anchors={anchors}")
    draw = torch.Generator().manual_seed(seed)
    n = len(features)
    device = features.device
    chosen = features[torch.randperm(n, generator=draw)[:anchors].to(device)].double()
    scale = torch.tensor(width, dtype=torch.float64, device=device) if width is not None else median_width(chosen)
    phi = torch.cat([kernel(rows, chosen, scale) for rows in blocks(features)])
    if bias:
        phi = torch.cat([phi, phi.new_ones(n, 1)], dim=1)
    machine = KernelMachine(phi, ridge)
    codes = (torch.randint(2, (n, bits), generator=draw).double() * 2 - 1).to(device)
    for _ in range(iterations):
        weights = classifier(codes, labels, len(classes), lam)
        directions = machine.directions(codes)
        drive = weights.T[labels] + nu * (phi @ directions)
        before = codes
        codes = discrete_codes(codes, drive, weights @ weights.T, sweeps)
        if torch.equal(before, codes):
            break
    return KernelEncoder(chosen, scale, machine.directions(codes))


def kernel(features: Tensor, anchors: Tensor, width: Tensor) -> Tensor:
    """Return phi: features (n, d) and anchors (m, d) to (n, m)."""
    return torch.exp(-width * torch.cdist(features, anchors).square())


def median_width(anchors: Tensor) -> Tensor:
    """Return 1 / (2 median^2) of the distances between two anchors (m, d).

    Raises:
        ValueError: the median is 0.

    >>> median_width(torch.tensor([[0.0], [1.0], [3.0]])).item()
    0.125
    """
    median = functional.pdist(anchors).median()
    if median == 0:
        raise ValueError("most sdh anchors are equal, so their distances give no width; set sdh.width")
    return 1 / (2 * median.square())


def classifier(codes: Tensor, labels: Tensor, classes: int, lam: float) -> Tensor:
    """Return W (c, K) for codes (n, c), by ridge regression: (B^T B + lam I)^-1 B^T Y, without building Y."""
    sums = codes.new_zeros(classes, codes.shape[1]).index_add_(0, labels, codes)
    return torch.linalg.solve(codes.T @ codes + lam * torch.eye(codes.shape[1]).to(codes), sums.T)


class KernelMachine:
    """Computes P (m, c) for codes (n, c): (phi^T phi + ridge I)^-1 phi^T B, with phi^T phi decomposed once.

    Eigenvalues that are negative by rounding count as zero: close anchors make phi^T phi singular to working precision.

    Args:
        phi: (n, m).
        ridge: the weight of ||P||^2.
    """

    def __init__(self, phi: Tensor, ridge: float = RIDGE) -> None:
        self._phi = phi
        values, self._vectors = torch.linalg.eigh(phi.T @ phi)
        self._values = values.clamp(min=0) + ridge

    def directions(self, codes: Tensor) -> Tensor:
        """Return P (m, c) for codes (n, c)."""
        return self._vectors @ ((self._vectors.T @ (self._phi.T @ codes)) / self._values[:, None])


def discrete_codes(codes: Tensor, drive: Tensor, gram: Tensor, sweeps: int) -> Tensor:
    """Minimize b_i^T G b_i - 2 q_i^T b_i over the bits of every row, one bit at a time until no bit helps.

    Args:
        codes: (n, c) in {-1, +1} at the start.
        drive: (n, c) q.
        gram: (c, c) G, symmetric.
        sweeps: passes over the bits, at most.

    Returns:
        (n, c) new codes; a bit whose two values cost the same keeps its value.
    """
    new = codes.clone()
    for _ in range(sweeps):
        before = new.clone()
        for bit in range(codes.shape[1]):
            others = gram[:, bit].clone()
            others[bit] = 0
            pull = drive[:, bit] - new @ others
            new[:, bit] = torch.where(pull == 0, new[:, bit], pull.sign())
        if torch.equal(new, before):
            break
    return new
