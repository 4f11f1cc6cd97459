"""Which nodes of a graph hang together, for as many edges as fit in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def component_roots(
    names: NDArray[np.uint64],
    nodes: NDArray[np.int32],
    left: NDArray[np.int32],
    right: NDArray[np.int32],
) -> NDArray[np.uint64]:
    """The smallest name in each node's component, in the order of `nodes`.

    `nodes` are the numbers 0..n-1 in any order, with `names` beside them; `left` and `right` are the two ends of each edge. All of shape (n,)
    or (edges,).
    """
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(len(nodes),) * 2)
    count, labels = connected_components(graph, directed=False)
    component = labels[nodes]
    smallest = np.full(count, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(smallest, component, names)
    found: NDArray[np.uint64] = smallest[component]
    return found
