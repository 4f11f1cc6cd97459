"""The rebuild beside as a Dagster job, and as a process of its own that a worker or a command starts and watches."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings
from orchestration.assets.keys import table_key
from orchestration.jobs import MAX_RUNTIME_SECONDS, REBUILD
from orchestration.side_build import Build, leave_nothing, newest_build, rebuild_beside

if TYPE_CHECKING:
    from dagster import DagsterInstance

_STOP_SECONDS = 10.0


class RebuildConfig(dg.Config):
    """`asked`: rebuild though nothing has changed; `as_of`: ISO 8601 instant the models speak for, empty = now."""

    asked: bool = True
    as_of: str = ""


@dg.op(name="rebuild_beside", out=dg.Out(dg.Nothing))
def rebuild_op(context: dg.OpExecutionContext, config: RebuildConfig) -> None:
    """Copy the warehouse, rebuild and test the copy, carry over what landed meanwhile, put it in the warehouse's place."""
    settings = Settings()
    as_of = datetime.fromisoformat(config.as_of) if config.as_of else None

    def tell(build: Build) -> None:
        context.log.info(f"{build.stage} after {build.seconds:.1f} s")

    done = rebuild_beside(settings, asked=config.asked, as_of=as_of, tell=tell)
    if done is None:
        context.log.info("the warehouse is made with these policies and models already")
        return
    for node in done.transformed.nodes:
        context.log_event(
            dg.AssetMaterialization(
                table_key(node.schema, node.name),
                metadata={
                    "as_of": done.transformed.as_of.isoformat(),
                    "seconds": round(node.seconds, 3),
                    "reason": done.reason,
                    "dagster/row_count": done.transformed.rows.get((node.schema, node.name), 0),
                },
            )
        )
    context.log_event(
        dg.AssetMaterialization(
            table_key("ops", "rebuilds"),
            metadata={
                "reason": done.reason,
                "seconds": round(sum(done.steps.values()), 3),
                "locked_seconds": round(done.locked_seconds, 3),
                "carried_rows": done.carried_rows,
                "copied_bytes": done.size_bytes,
                "tests": len(done.tests),
                **{
                    f"seconds_{stage.replace(' ', '_')}": round(seconds, 3)
                    for stage, seconds in done.steps.items()
                },
            },
        )
    )


@dg.job(
    name=REBUILD,
    executor_def=dg.in_process_executor,
    description="Rebuild everything derived on a copy of the warehouse, test it and swap it in; batches go on meanwhile.",
    tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS)},
)
def rebuild_warehouse() -> None:
    """Rebuild beside."""
    rebuild_op()


@dataclass
class Rebuilding:
    """A rebuild in a process of its own."""

    settings: Settings
    _process: subprocess.Popen[bytes] = field(repr=False)
    _begun_at: datetime

    def build(self) -> Build:
        """What it does now, or how it ended."""
        code = self._process.poll()
        told = newest_build(self.settings)
        if told is None or told.pid != self._process.pid:
            told = Build(self._process.pid, "starting", "", self._begun_at)
        if code is None or told.is_finished:
            return told
        error = {
            "code": "INTERNAL",
            "message": f"the process of the rebuild ended with {code}",
            "remedy": "It is tried again; what it left is deleted.",
        }
        return Build(told.pid, "failed", told.reason, told.started_at, told.seconds, error)

    @property
    def age_seconds(self) -> float:
        """Since when it runs."""
        return (datetime.now(UTC) - self._begun_at).total_seconds()

    @property
    def has_ended(self) -> bool:
        """Whether its process is gone."""
        return self._process.poll() is not None

    def wait(self, seconds: float) -> bool:
        """Whether it ended within `seconds`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self.has_ended

    def stop(self) -> None:
        """End it at once: whatever it was at, the warehouse in use is whole."""
        if not self.has_ended:
            self._process.terminate()
            if not self.wait(_STOP_SECONDS):
                self._process.kill()
                self._process.wait()


def start_rebuild(
    settings: Settings, *, asked: bool = False, as_of: datetime | None = None
) -> Rebuilding:
    """Start one; it takes its settings from the environment, as this process did."""
    arguments = [*(["--asked"] if asked else []), *([as_of.isoformat()] if as_of else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestration.rebuild", *arguments],
        env={
            **os.environ,
            "HANDOFF_HOME": str(settings.root),
            **(
                {"HANDOFF_POLICIES": str(settings.policies.absolute())} if settings.policies else {}
            ),
        },
        stdin=subprocess.DEVNULL,
        # Whoever reads standard output reads lines of the worker.
        stdout=sys.stderr.fileno(),
    )
    return Rebuilding(settings, process, datetime.now(UTC))


def run_rebuild(
    settings: Settings, instance: "DagsterInstance", *, asked: bool, as_of: str = ""
) -> Any:
    """Run the job in this process, as a run like any other."""
    from orchestration.micro_batch import run_once

    return run_once(
        rebuild_warehouse, instance, {"rebuild_beside": {"asked": asked, "as_of": as_of}}
    )


def main(arguments: list[str]) -> int:
    """Exit code of a rebuild; how it went is in the state file. SIGTERM and Ctrl-C end it at once."""
    from orchestration.instance import open_instance

    settings = Settings()
    codes: list[int] = []

    def run() -> None:
        try:
            with open_instance(settings) as instance:
                as_of = next((given for given in arguments if given != "--asked"), "")
                run_rebuild(settings, instance, asked="--asked" in arguments, as_of=as_of)
            codes.append(0)
        except HandoffError as error:
            codes.append(error.entry.exit_code)

    def end_now(*_: object) -> None:
        leave_nothing(settings)
        os._exit(130)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end_now)
    # In a thread: in the main one Dagster would put its own handlers in place of these.
    thread = threading.Thread(target=run, name="rebuild", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
    return codes[0] if codes else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
