"""Run once by the installation: parses the dbt project, so that no command has to."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ingestion.settings import Settings
from orchestration.transform import PREBUILT, manifest, manifest_path


def main() -> None:
    """Leave the parsed project in dbt's own target folder, over what an earlier installation left there."""
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home))
        PREBUILT.mkdir(parents=True, exist_ok=True)
        manifest(settings)
        for stale in (*PREBUILT.glob("*.msgpack"), *PREBUILT.glob("*.json")):
            stale.unlink()
        # JSON first: the other's presence says that both are there.
        for ending in ("json", "msgpack"):
            for file in manifest_path(settings).parent.glob(f"*.{ending}"):
                if file.stem not in ("partial_parse", "manifest"):
                    shutil.copy2(file, PREBUILT / file.name)


if __name__ == "__main__":
    main()
