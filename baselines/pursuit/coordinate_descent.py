"""Coordinate descent on a working set of atoms, on the Gram matrix."""

import numpy as np
from numpy.typing import NDArray

from baselines.pursuit.compiled import compiled

Array = NDArray[np.floating]


@compiled
def solve(b, gram, norms, lam, alpha, positive, tol, max_iter, data, indices, indptr, first):  # type: ignore[no-untyped-def]
    """Codes of the rows of b = X D - linear from row `first` on, as CSR; returns the first row that did not fit, steps."""
    n, m = b.shape
    cap = min(m, 64)
    work = np.empty(m, np.int64)
    c = np.zeros(m, b.dtype)
    old = np.zeros(m, b.dtype)
    inside = np.zeros(m, np.bool_)
    steps = 0
    for i in range(first, n):
        g = b[i]
        size = 0
        eps = tol * np.sqrt(norms[i])
        for outer in range(max_iter):
            worst = b.dtype.type(0)
            for j in range(m):
                v = (g[j] if positive else abs(g[j])) - lam[j]
                if not inside[j] and v > worst:
                    worst = v
            if worst <= eps and outer > 0:
                break
            if worst > 0:
                cut = b.dtype.type(0.5) * worst
                for j in range(m):
                    v = (g[j] if positive else abs(g[j])) - lam[j]
                    if not inside[j] and v >= cut:
                        inside[j] = True
                        work[size] = j
                        size += 1
            gw = np.empty(size, b.dtype)
            sub = np.empty((size, size), b.dtype)
            for k in range(size):
                gw[k] = g[work[k]] - alpha * c[work[k]]
                old[k] = c[work[k]]
                for l in range(size):
                    sub[k, l] = gram[work[k], work[l]]
                sub[k, k] += alpha
            for sweep in range(1000):
                steps += 1
                change = b.dtype.type(0)
                for k in range(size):
                    j = work[k]
                    h = sub[k, k]
                    if h <= 0:
                        continue
                    u = gw[k] + h * c[j]
                    new = (u - lam[j]) / h if u > lam[j] else ((u + lam[j]) / h if u < -lam[j] and not positive else 0)
                    delta = b.dtype.type(new - c[j])
                    if delta != 0:
                        c[j] = b.dtype.type(new)
                        for l in range(size):
                            gw[l] -= delta * sub[k, l]
                        change = max(change, abs(delta) * h)
                if change <= b.dtype.type(0.3) * eps:
                    break
            for k in range(size):
                j = work[k]
                delta = c[j] - old[k]
                if delta != 0:
                    row = gram[j]
                    for l in range(m):
                        g[l] -= delta * row[l]
        nnz = 0
        for k in range(size):
            if c[work[k]] != 0:
                nnz += 1
        start = indptr[i]
        full = start + nnz > len(data)
        if not full:
            at = start
            for j in np.sort(work[:size]):
                if c[j] != 0:
                    data[at] = c[j]
                    indices[at] = j
                    at += 1
            indptr[i + 1] = at
        for k in range(size):
            inside[work[k]] = False
            c[work[k]] = 0
        if full:
            return i, steps
    return n, steps
