"""Reads the policy folder into checked, immutable policies; turning them into tables is rows.py's
work."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from ingestion.errors.catalog import HandoffError
from models.matching.parameters import (
    MatchParameters,
    matches_policy,
    parameters_hash,
    parameters_path,
    read_parameters,
)
from models.policies.contradictions import contradictions, disagreements
from models.policies.documents import (
    COUNTRY_PATTERN,
    EMAIL_PATTERN,
    NAME_PATTERN,
    VERSION_PATTERN,
    IdentityPolicy,
    PolicyDocument,
    Rollout,
    Trial,
)
from models.policies.kinds import KINDS
from models.policies.lead_model import ModelPolicy
from models.policies.problems import Fault, Location, Problem, policy_error
from models.policies.wording import known
from models.scoring.artefact import (
    TrainedModel,
    config_hash,
    model_hash,
    model_path,
    read_model,
)

POLICY_FOLDER = Path(__file__).parent
VERSION_FILE = re.compile(r"^v[1-9][0-9]*\.yml$")
# Who is told what: read by subscribers.py, and no policy.
SUBSCRIBERS_FILE = "subscribers.yml"
OTHER_FILES = frozenset({"rollout.yml", SUBSCRIBERS_FILE})
# Folders that hold no policies; everything else must be a kind, so that a misspelt folder is
# noticed.
OTHER_FOLDERS = frozenset({"schemas", "__pycache__"})
# Prose about a version: changing it changes no decision, so a used version may still have it
# edited.
PROSE = frozenset({"description", "owner"})

Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One version of one kind; `content_hash` is the SHA-256 of what it decides, blind to comments
    and layout."""

    kind: str
    version: str
    file: str
    document: PolicyDocument
    content_hash: str
    parameters: MatchParameters | None = None
    model: TrainedModel | None = None

    @property
    def decides(self) -> bool:
        """Whether anything comes of it: a lead model says nothing before it is trained."""
        return not isinstance(self.document, ModelPolicy) or self.model is not None


@dataclass(frozen=True, slots=True)
class Policies:
    """Every version of every kind, oldest first, which of them is active, and which is tried on some people beside it."""

    folder: Path
    versions: Mapping[str, Mapping[str, PolicyVersion]]
    active: Mapping[str, str]
    trials: Mapping[str, Trial] = field(default_factory=dict)

    def deciding(self, kind: str) -> PolicyVersion:
        """The version of a kind that the rollout names."""
        return self.versions[kind][self.active[kind]]

    def is_active(self, version: PolicyVersion) -> bool:
        """Whether the version decides for anybody: the rollout names it, for all or for some."""
        trial = self.trials.get(version.kind)
        return version.version in (self.active[version.kind], trial and trial.version)

    def in_use(self) -> list[PolicyVersion]:
        """Every version that decides for anybody."""
        return [
            version
            for versions in self.versions.values()
            for version in versions.values()
            if self.is_active(version)
        ]

    def hashes(self) -> list[tuple[str, str, str]]:
        """(kind, version, content hash) of all that decides, the trials as a kind of their own."""
        told = [(each.kind, each.version, each.content_hash) for each in self.in_use()]
        if self.trials:
            told.append(("rollout", "trials", trials_hash(self.trials)))
        return sorted(told)


def copy_policies(folder: Path, source: Path = POLICY_FOLDER) -> Path:
    """Copy the policies of `source`, default those that come with Handoff, to `folder`, which must not exist; returns it."""
    ignored = shutil.ignore_patterns("*.py", *OTHER_FOLDERS)
    return Path(shutil.copytree(source, folder, ignore=ignored))


def load_policies(folder: Path | None = None, *, further_systems: Collection[str] = ()) -> Policies:
    """All versions of all kinds in `folder` (default: the shipped ones), checked one by one and
    together; `further_systems` (HANDOFF_SYSTEMS) may be named beside those we know.

    Raises HandoffError POLICY_INVALID (exit code 4) naming file, line, value and remedy of every
    problem.
    """
    folder = POLICY_FOLDER if folder is None else folder
    if not folder.is_dir():
        raise HandoffError(
            "POLICY_INVALID",
            f"policy folder {folder} does not exist",
            remedy="Correct HANDOFF_POLICIES, or unset it to use the policies that come with "
            "Handoff.",
            path=str(folder),
        )
    problems = _stray_entries(folder)
    sources: dict[str, dict[str, Source]] = {}
    versions: dict[str, dict[str, PolicyVersion]] = {}
    with _PatternChecker() as pattern_fault:
        for kind in KINDS:
            sources[kind], versions[kind] = {}, {}
            for file in _version_files(folder, kind):
                source = read_source(folder, file, problems)
                if source is None:
                    continue
                document = parse_source(KINDS[kind], source, problems)
                if document is None:
                    continue
                faults = contradictions(document, _activity_types(), pattern_fault)
                problems += [source.problem(fault) for fault in faults]
                parameters = _parameters(document, source, file, problems)
                model = _model(document, source, file, problems)
                sources[kind][file.stem] = source
                versions[kind][file.stem] = PolicyVersion(
                    kind=kind,
                    version=file.stem,
                    file=source.file,
                    document=document,
                    content_hash=content_hash(document, parameters, model),
                    parameters=parameters,
                    model=model,
                )
    rollout = read_source(folder, folder / "rollout.yml", problems)
    active, trials = ({}, {}) if rollout is None else _active(rollout, folder, problems)
    if not problems:
        documents = {kind: versions[kind][version].document for kind, version in active.items()}
        for kind, fault in disagreements(documents, _systems(further_systems)):
            problems.append(sources[kind][active[kind]].problem(fault))
    if problems:
        raise policy_error(problems)
    return Policies(folder=folder, versions=versions, active=active, trials=trials)


def check_frozen(policies: Policies, used: Mapping[tuple[str, str], str]) -> None:
    """Refuse if a version that decisions were made with says something else now, or is gone.

    `used` maps (kind, version) to the content hash decisions were made with. Raises HandoffError
    POLICY_FROZEN naming each file and version.
    """
    broken: list[tuple[str, str]] = []
    for (kind, version), used_hash in sorted(used.items()):
        present = policies.versions.get(kind, {}).get(version)
        file = f"{kind}/{version}.yml"
        if present is None:
            broken.append((file, f"{file}: version {version} of {kind} was used and is gone"))
        elif present.content_hash != used_hash:
            broken.append(
                (file, f"{file}: version {version} of {kind} was used and says something else now")
            )
    if broken:
        file = broken[0][0]
        taken = policies.versions.get(file.split("/")[0], {})
        following = 1 + max((_number(version) for version in taken), default=0)
        raise HandoffError(
            "POLICY_FROZEN",
            "\n".join(message for _, message in broken),
            remedy=f"Restore {policies.folder / file} (comments may differ) and put the change "
            f"into "
            f"v{following}.yml, then name it in rollout.yml.",
            path=file,
        )


def _parameters(
    document: PolicyDocument, source: Source, file: Path, problems: list[Problem]
) -> MatchParameters | None:
    """Trained parameters of an identity version, when there are any; a problem is noted when they are not of these comparisons."""
    if not isinstance(document, IdentityPolicy):
        return None
    matching = document.matching
    return _trained(
        parameters_path(file),
        read_parameters,
        lambda parameters: matching is not None and matches_policy(parameters, matching),
        "other comparisons",
        source,
        f"Train again: handoff identity train --policy {file.stem}; or remove the file.",
        problems,
    )


def _model(
    document: PolicyDocument, source: Source, file: Path, problems: list[Problem]
) -> TrainedModel | None:
    """The lead model of a version, when there is one; a problem is noted when it was trained for something else."""
    if not isinstance(document, ModelPolicy):
        return None
    config = config_hash(document)
    return _trained(
        model_path(file),
        read_model,
        lambda model: model.config_hash == config,
        "something else",
        source,
        f"Train again: handoff train --policy {file.stem}; or remove the file.",
        problems,
    )


def _trained(
    path: Path,
    read: Callable[[Path], Kept],
    is_of_version: Callable[[Kept], bool],
    otherwise: str,
    source: Source,
    again: str,
    problems: list[Problem],
) -> Kept | None:
    """What was trained for a version and stands beside it."""
    if not path.is_file():
        return None
    name = f"{source.file.rpartition('/')[0]}/{path.name}"
    try:
        trained = read(path)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        problems.append(Problem(name, None, f"cannot be read: {first}", again))
        return None
    if not is_of_version(trained):
        problems.append(
            Problem(name, None, f"was trained for {otherwise} than {source.file} has", again)
        )
        return None
    return trained


def content_hash(
    document: PolicyDocument,
    parameters: MatchParameters | None = None,
    model: TrainedModel | None = None,
) -> str:
    """SHA-256 (hex) of what the document, with the parameters or the model trained for it, decides.

    Fields at their default are left out: a field that a later release adds must not unfreeze old
    versions. Nor must comparisons that nothing was trained for: they decide nothing.
    """
    content = document.model_dump(mode="json", exclude=set(PROSE), exclude_defaults=True)
    if parameters is None:
        content.pop("matching", None)
    else:
        content["parameters"] = parameters_hash(parameters)
    if model is not None:
        content["model"] = model_hash(model)
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Source:
    """A YAML file as read: `node` keeps line numbers, `content` is the same in plain Python
    values."""

    file: str
    node: Any
    content: Any

    def problem(self, fault: Fault) -> Problem:
        """The fault with its line."""
        line = _line(self.node, fault.location)
        return Problem(self.file, line, fault.message, fault.remedy)


def _version_files(folder: Path, kind: str) -> list[Path]:
    files = [file for file in (folder / kind).glob("v*.yml") if VERSION_FILE.match(file.name)]
    return sorted(files, key=lambda file: _number(file.stem))


def _number(version: str) -> int:
    return int(version[1:])


def _stray_entries(folder: Path) -> list[Problem]:
    """Folders and YAML files that nothing would read: most likely misspelt, so said aloud."""
    problems: list[Problem] = []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and entry.name not in KINDS and entry.name not in OTHER_FOLDERS:
            message = f"unknown kind of policy '{entry.name}'{known(entry.name, KINDS)}"
            problems.append(
                Problem(f"{entry.name}/", None, message, "Rename or remove the folder.")
            )
        if entry.is_file() and entry.suffix in (".yml", ".yaml") and entry.name not in OTHER_FILES:
            message = f"'{entry.name}' is read by nothing"
            files = " and ".join(sorted(OTHER_FILES))
            remedy = f"Only {files} stand here; versions stand in the folder of their kind."
            problems.append(Problem(entry.name, None, message, remedy))
    for kind in KINDS:
        if not _version_files(folder, kind):
            remedy = f"Copy {kind}/v1.yml from the policies that come with Handoff."
            problems.append(Problem(f"{kind}/", None, f"no version of {kind}", remedy))
        for file in sorted((folder / kind).glob("*")):
            if file.suffix in (".yml", ".yaml") and not VERSION_FILE.match(file.name):
                message = f"'{file.name}' is no version"
                name = f"{kind}/{file.name}"
                problems.append(Problem(name, None, message, "Name it v1.yml, v2.yml, …"))
    return problems


def read_source(folder: Path, file: Path, problems: list[Problem]) -> Source | None:
    """A YAML file with its line numbers, or None with its problems noted."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    name = file.relative_to(folder).as_posix()
    try:
        node = YAML(typ="rt").load(file.read_text(encoding="utf-8"))
        nameless = list(_nameless_keys(node))
        if not nameless:
            return Source(file=name, node=node, content=_plain(node))
        problems += [
            Problem(
                name,
                line,
                f"a mapping or list stands where a name belongs: {shown}",
                "Put quotes around the value if it is meant as text.",
            )
            for line, shown in nameless
        ]
    except FileNotFoundError:
        problems.append(
            Problem(
                name,
                None,
                "the file is missing",
                "Copy it from the policies that come with Handoff.",
            )
        )
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(name, None, f"cannot be read: {error}", "Save it as UTF-8 text."))
    except (YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None) if isinstance(error, MarkedYAMLError) else None
        what = str(getattr(error, "problem", None) or error).split("\n")[0]
        if what.startswith("found duplicate key"):
            # ruamel goes on with both values, which may be long; the key alone names the fault.
            what = what.split(" with value")[0]
        remedy = (
            "Correct the line or the one above it: indentation, a colon, a quote or a repeated key."
        )
        problems.append(
            Problem(name, mark.line + 1 if mark else None, f"is not valid YAML: {what}", remedy)
        )
    return None


def _nameless_keys(node: Any) -> Iterator[tuple[int, str]]:
    """Line and text of every key that is itself a mapping or a list: `{{ template }}` is YAML."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if isinstance(key, Mapping | list | tuple):
                shown = dict(key) if isinstance(key, Mapping) else list(key)
                yield node.lc.key(key)[0] + 1, f"{shown!r:.80}"  # type: ignore[attr-defined]
            yield from _nameless_keys(value)
    elif isinstance(node, list):
        for item in node:
            yield from _nameless_keys(item)


def _plain(node: Any) -> Any:
    """Plain Python values of a ruamel tree: its scalar classes would fail strict validation; lists
    become tuples."""
    if isinstance(node, Mapping):
        return {_plain(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return tuple(_plain(value) for value in node)
    if isinstance(node, bool) or node is None:
        return node
    if isinstance(node, date):
        # ruamel's own class of instant; as text it keeps its zone, and pydantic refuses one
        # without.
        return node.isoformat()
    for kind in (str, int, float):
        if isinstance(node, kind):
            return kind(node)
    return node


def _line(node: Any, location: Location) -> int | None:
    """Line (from 1) of the deepest place that exists on the way to `location`; None for an empty
    file."""
    line: int | None = None
    if hasattr(node, "lc"):
        line = node.lc.line + 1
    for step in location:
        # CommentedMap and CommentedSeq carry `lc`: where each key and item stands.
        places: Any = getattr(node, "lc", None)
        if isinstance(node, Mapping) and step in node:
            line = places.key(step)[0] + 1
        elif isinstance(node, list) and isinstance(step, int) and step < len(node):
            line = places.item(step)[0] + 1
        else:
            break
        node = node[step]
    return line


def parse_source(model: type[BaseModel], source: Source, problems: list[Problem]) -> Any:
    """The document, or None with its problems noted."""
    if not isinstance(source.content, dict):
        fault = Fault(
            (),
            "the file is empty or no mapping",
            "Write `field: value` lines; see the shipped v1.yml.",
        )
        problems.append(source.problem(fault))
        return None
    try:
        return model.model_validate(source.content)
    except ValidationError as error:
        places: dict[tuple[int | None, str], None] = {}
        for detail in error.errors(include_url=False):
            fault = _fault(model, source.content, detail)
            problem = source.problem(fault)
            # A union reports once per alternative; one problem per place is enough.
            if (problem.line, problem.message) not in places:
                places[problem.line, problem.message] = None
                problems.append(problem)
        return None


_ZONED = "Write an instant with its zone, e.g. 2026-01-01T00:00:00Z."
_REMEDIES = {
    "timezone_aware": _ZONED,
    "datetime_from_date_parsing": _ZONED,
    "datetime_parsing": _ZONED,
    "string_type": "Put quotes around it if it is meant as text.",
    "tuple_type": "Write a list: [one, two], or lines beginning with `- `.",
}
_EXPECTED = {
    "tuple_type": "a list expected",
    "dict_type": "a mapping (`name: value` lines) expected",
    "model_type": "a mapping (`name: value` lines) expected",
    "string_type": "text expected",
    "timezone_aware": "no time zone",
}
_PATTERN_MEANING = {
    COUNTRY_PATTERN: "a two-letter ISO country code in capitals expected, e.g. DE",
    NAME_PATTERN: "lower-case letters, digits and _ expected, beginning with a letter",
    VERSION_PATTERN: "a version expected: v1, v2, …",
    EMAIL_PATTERN: "an e-mail address expected",
}


def _fault(model: type[BaseModel], content: Any, detail: Any) -> Fault:
    location: Location = tuple(detail["loc"])
    depth, value = _resolve(content, location)
    name = ".".join(str(step) for step in location if isinstance(step, str)) or "the file"
    field = str(location[-1]) if location else "the file"
    kind = detail["type"]
    if kind == "extra_forbidden":
        names = known(field, _fields_at(model, location[:-1]))
        return Fault(
            location, f"unknown field '{field}'{names}", "Correct the name, or remove the line."
        )
    if kind == "missing":
        return Fault(
            location, f"field '{field}' is missing", f"Add `{field}:`; see the shipped v1.yml."
        )
    remedy = "Change the value as said; the editor completes allowed ones from the schema."
    if location and location[-1] == "[key]":
        return Fault(
            location[:-1], f"{location[-2]!r} is no valid name here: {detail['msg']}", remedy
        )
    expected = _EXPECTED.get(kind, str(detail["msg"]))
    if depth < len(location):
        # Inside a union pydantic adds the alternative's name to the path; the place is the value
        # itself.
        name = ".".join(str(step) for step in location[:depth] if isinstance(step, str))
        expected = "text, a number or a list of texts expected"
    elif kind == "string_pattern_mismatch":
        pattern = detail["ctx"]["pattern"]
        expected = _PATTERN_MEANING.get(pattern, expected)
    shown = (
        f"{value!r}"
        if isinstance(value, str | int | float | bool) or value is None
        else "holds several values"
    )
    remedy = _REMEDIES.get(kind, remedy)
    return Fault(location[:depth], f"{name} {shown}: {expected}", remedy)


def _resolve(content: Any, location: Location) -> tuple[int, Any]:
    """How many steps of `location` exist in `content`, and the value at the deepest."""
    for depth, step in enumerate(location):
        try:
            content = content[step]
        except (KeyError, IndexError, TypeError):
            return depth, content
    return len(location), content


def _fields_at(model: type[BaseModel], location: Location) -> Sequence[str]:
    """Names of the fields at a place of the document, following nested models."""
    for step in location:
        field = model.model_fields.get(step) if isinstance(step, str) else None
        if field is not None:
            model = _model_in(field.annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(argument) for argument in get_args(annotation))
    return next((model for model in found if model is not None), None)


def _active(
    rollout: Source, folder: Path, problems: list[Problem]
) -> tuple[dict[str, str], dict[str, Trial]]:
    document = parse_source(Rollout, rollout, problems)
    if document is None:
        return {}, {}
    active: dict[str, str] = document.active
    for kind, version in active.items():
        if kind not in KINDS:
            fault = Fault(
                ("active", kind),
                f"unknown kind of policy '{kind}'{known(kind, KINDS)}",
                "Correct the name, or remove the line.",
            )
            problems.append(rollout.problem(fault))
        elif not (folder / kind / f"{version}.yml").is_file():
            names = known(version, [file.stem for file in _version_files(folder, kind)])
            fault = Fault(
                ("active", kind),
                f"{kind} has no version '{version}'{names}",
                f"Write {kind}/{version}.yml, or name a version that exists.",
            )
            problems.append(rollout.problem(fault))
    for kind in KINDS:
        if kind not in active:
            fault = Fault(("active",), f"no active version of {kind}", f"Add a line `{kind}: v1`.")
            problems.append(rollout.problem(fault))
    trials = dict(document.trials)
    for kind, trial in trials.items():
        untriable = _trial_fault(kind, trial, active.get(kind), folder)
        if untriable is not None:
            problems.append(rollout.problem(untriable))
    return active, trials


def _trial_fault(kind: str, trial: Trial, active: str | None, folder: Path) -> Fault | None:
    if not (folder / kind / f"{trial.version}.yml").is_file():
        names = known(trial.version, [file.stem for file in _version_files(folder, kind)])
        return Fault(
            ("trials", kind, "version"),
            f"{kind} has no version '{trial.version}'{names}",
            f"Write {kind}/{trial.version}.yml, or name a version that exists.",
        )
    if trial.version == active:
        return Fault(
            ("trials", kind, "version"),
            f"{kind} {trial.version} decides for everybody: there is nothing to try",
            "Remove the trial, or name another version.",
        )
    if both := sorted(set(trial.allow) & set(trial.deny)):
        return Fault(
            ("trials", kind, "deny"),
            f"'{both[0]}' is allowed and denied",
            "Leave it in one of the two lists.",
        )
    return None


def trials_hash(trials: Mapping[str, Trial]) -> str:
    """SHA-256 (hex) of who is decided for by what is tried."""
    told = {kind: trial.model_dump(mode="json") for kind, trial in sorted(trials.items())}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _systems(further: Collection[str]) -> tuple[str, ...]:
    from ingestion.connectors.catalog import systems
    from ingestion.settings import EVENT_ONLY_SYSTEMS

    return tuple(sorted({*systems(), *EVENT_ONLY_SYSTEMS, *further}))


def _activity_types() -> tuple[str, ...]:
    from ingestion.contracts.registry import enum_values

    return tuple(enum_values("activity_type"))


class _PatternChecker:
    """Asks the engine that runs the patterns (DuckDB, hence RE2) whether it can; Python's `re`
    accepts more and less."""

    def __enter__(self) -> Callable[[str], str | None]:
        import duckdb

        self._connection = duckdb.connect(":memory:")
        self._error = duckdb.Error
        return self._fault

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _fault(self, pattern: str) -> str | None:
        try:
            self._connection.execute("select regexp_matches('x', $1)", [pattern]).fetchall()
        except self._error as error:
            return str(error).split("\n")[0].removeprefix("Invalid Input Error: ")
        return None
