"""Batch-OMP: greedy codes with a fixed number of non-zeros, on the Gram matrix."""

import numpy as np

from baselines.pursuit.compiled import compiled


@compiled
def solve(b, gram, norms, n_nonzero, tol, data, indices):  # type: ignore[no-untyped-def]
    """Codes of the rows of b = X D with up to `n_nonzero` entries each; returns the number of entries of each row."""
    n, m = b.shape
    counts = np.zeros(n, np.int64)
    L = np.zeros((n_nonzero, n_nonzero), b.dtype)  # Cholesky factor of the Gram matrix of the chosen atoms
    P = np.empty((n_nonzero, m), b.dtype)  # gram[:, chosen] L^-T: what each orthogonalised atom correlates with
    y = np.empty(n_nonzero, b.dtype)
    chosen = np.empty(n_nonzero, np.int64)
    for i in range(n):
        g = b[i]
        floor = tol * norms[i]
        k = 0
        while k < n_nonzero:
            j = 0
            best = b.dtype.type(-1)
            for l in range(m):
                if abs(g[l]) > best:
                    best = abs(g[l])
                    j = l
            if best * best <= floor:
                break
            pivot = gram[j, j]
            for p in range(k):
                L[k, p] = P[p, j]
                pivot -= L[k, p] * L[k, p]
            if pivot <= 1e-6 * gram[j, j]:
                break
            root = np.sqrt(pivot)
            L[k, k] = root
            y[k] = g[j] / root
            chosen[k] = j
            row = P[k]
            source = gram[j]
            for l in range(m):
                row[l] = source[l]
            for p in range(k):
                f = L[k, p]
                for l in range(m):
                    row[l] -= f * P[p, l]
            s = 1 / root
            f = y[k]
            for l in range(m):
                row[l] *= s
                g[l] -= f * row[l]
            k += 1
        counts[i] = k
        for p in range(k - 1, -1, -1):
            v = y[p]
            for q in range(p + 1, k):
                v -= L[q, p] * data[i, q]
            data[i, p] = v / L[p, p]
            indices[i, p] = chosen[p]
    return counts
