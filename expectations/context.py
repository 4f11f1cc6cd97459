"""The only place that makes a Great Expectations context; suites, results and pages are the other
modules' work."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from great_expectations.data_context.data_context.ephemeral_data_context import (
        EphemeralDataContext,
    )


def ephemeral_context() -> EphemeralDataContext:
    """A new context that lives in memory: writes no files, calls nobody, draws no progress bars.

    Great Expectations takes seconds to import, so it is imported here and nowhere at the top of a
    module. A context per use, because one that is kept keeps every frame it has ever seen.
    """
    # Read when the package is imported; releases that report usage obey it.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"

    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    # Asked for a metric it cannot compute, it logs the exception's text, and such texts quote
    # values: "could not convert string 'ada@…' to numeric".
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)
    return gx.get_context(
        mode="ephemeral",
        # Without a configuration of ours it would keep a documentation site in the system's /tmp.
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(),
            progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
            analytics_enabled=False,
        ),
    )
