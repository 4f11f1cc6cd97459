"""The edge as the edge kernel measures it: `python -m benchmarks.edge_server PORT HOME`."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Serve the edge on a home of its own until terminated."""
    from ingestion.edge.app import serve
    from ingestion.settings import Settings

    serve(Settings(home=Path(sys.argv[2])), port=int(sys.argv[1]))


if __name__ == "__main__":
    main()
