"""The best one-to-one assignment of two lists: which detection belongs to which track, or to which ground truth."""

from __future__ import annotations

import numpy as np

from singleshot.shapes import Float, Int64


def assign(similarity: Float[np.ndarray, "n m"]) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
    """Rows and columns of the pairs with the largest sum of similarities; k is the smaller of n and m.

    Each row and each column occurs once at most; the rows are in ascending order. Shortest augmenting paths, O(n² m)
    (Jonker and Volgenant 1987, in the form of Crouse, "On implementing 2D rectangular assignment algorithms", 2016).

    >>> rows, columns = assign(np.array([[0.9, 0.8], [0.7, 0.1]]))  # 0.8 + 0.7 is more than 0.9 + 0.1
    >>> rows.tolist(), columns.tolist()
    ([0, 1], [1, 0])

    Args:
        similarity: finite numbers.
    """
    row_count, column_count = similarity.shape
    if row_count > column_count:
        columns, rows = assign(similarity.T)
        order = np.argsort(rows)
        return rows[order], columns[order]
    largest = similarity.argmax(axis=1) if row_count else np.zeros(0, np.int64)
    if len(set(largest.tolist())) == row_count:  # each row can have what is best for it
        return np.arange(row_count), largest
    cost = -np.asarray(similarity, np.float64)
    row_potential, column_potential = np.zeros(row_count), np.zeros(column_count)
    row_of = np.full(column_count, -1)
    for first_row in range(row_count):
        shortest, previous = np.full(column_count, np.inf), np.full(column_count, -1)
        visited = np.zeros(column_count, bool)
        row, column, distance = first_row, -1, 0.0
        while row >= 0:  # until the path ends at a column that is still free
            length = distance + cost[row] - row_potential[row] - column_potential
            shorter = ~visited & (length < shortest)
            shortest[shorter], previous[shorter] = length[shorter], column
            column = int(np.argmin(np.where(visited, np.inf, shortest)))
            distance, row, visited[column] = float(shortest[column]), int(row_of[column]), True
        row_potential[first_row] += distance
        assigned = np.flatnonzero(visited & (row_of >= 0))
        row_potential[row_of[assigned]] += distance - shortest[assigned]
        column_potential[assigned] -= distance - shortest[assigned]
        while column >= 0:  # move the assignments along the path
            row_of[column] = first_row if previous[column] < 0 else row_of[previous[column]]
            column = int(previous[column])
    columns = np.flatnonzero(row_of >= 0)
    order = np.argsort(row_of[columns])
    return row_of[columns][order], columns[order]
