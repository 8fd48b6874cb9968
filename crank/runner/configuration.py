# Reads the YAML files and resolves a scenario as crank does: merge, service over job, profiles, variables, templates.
# As a program it prints all scenarios as JSON: configuration.py '{"profiles": [...], "variables": {...}}' FILE...
import copy
import json
import os
import re
import sys
from dataclasses import asdict, dataclass, field

TEMPLATE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


class ConfigurationError(Exception):
    """A name that does not exist, or a template that cannot be filled."""


@dataclass
class Job:
    """A process to start, with every template filled."""

    name: str
    executable: str
    arguments: str
    ready_text: str = ""
    sources: dict = field(default_factory=dict)  # folder name beside the process -> where its files are
    variables: dict = field(default_factory=dict)
    endpoints: list = field(default_factory=list)


def load(paths, artifacts):
    """Merges files in order; later values win, lists are appended to. Paths in them become absolute, and those in the
    repository's artifacts/ are looked for in `artifacts`."""
    import yaml

    built = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(paths[0])), "..", "artifacts"))

    merged = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            document = yaml.safe_load(file)
        for job in (document.get("jobs") or {}).values():
            for source in (job.get("sources") or {}).values():
                folder = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(path)), source["localFolder"]))
                if folder.startswith(built + os.sep):
                    folder = os.path.join(artifacts, os.path.relpath(folder, built))
                source["localFolder"] = folder
        _merge(merged, document)
    return merged


def resolve(configuration, scenario, profiles, variables, jobs=None):
    """The services of a scenario as jobs. `variables` win over all others, as on crank's command line; `jobs` replaces
    the job of a service, as --application.job does."""
    services = _get(configuration, "scenarios", scenario)
    profile = {}
    for name in profiles:
        _merge(profile, copy.deepcopy(_get(configuration, "profiles", name)))
    agents = profile.pop("jobs", {})
    resolved = {}
    for service, patch in services.items():
        job_name = (jobs or {}).get(service, patch["job"])
        job = copy.deepcopy(_get(configuration, "jobs", job_name))
        for layer in (patch, profile, agents.get(service, {})):
            _merge(job, copy.deepcopy({key: value for key, value in layer.items() if key != "job"}))
        values = {**configuration.get("variables", {}), **job.get("variables", {}), **variables}
        # One pass over the variables themselves first: crank lets a variable name another.
        values = {name: _fill(value, values, f"variable {name}") for name, value in values.items()}
        resolved[service] = Job(
            name=job_name,
            executable=_fill(job["executable"], values, f"job {job_name}"),
            arguments=_fill(job["arguments"], values, f"job {job_name} in scenario {scenario}"),
            ready_text=job.get("readyStateText", ""),
            sources={name: source["localFolder"] for name, source in job.get("sources", {}).items()},
            variables=values,
            endpoints=[_fill(url, values, f"job {job_name}") for url in job.get("endpoints", [])])
    return resolved


def cpus(text):
    """'0-3,8' as a sorted list; CPUs that this machine lacks are left out, as taskset does."""
    found = set()
    for part in str(text).split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return sorted(found & os.sched_getaffinity(0))


def _get(configuration, kind, name):
    known = configuration.get(kind, {})
    if name not in known:
        raise ConfigurationError(f"there is no '{name}' among the {kind}: {', '.join(known)}")
    return known[name]


def _fill(value, values, where):
    if not isinstance(value, str):
        return value

    def one(match):
        if match[1] not in values:
            raise ConfigurationError(f"{where} uses {{{{{match[1]}}}}}, which is not defined")
        return str(values[match[1]])

    return TEMPLATE.sub(one, value)


def _merge(target, other):
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        elif isinstance(value, list) and isinstance(target.get(key), list):
            target[key].extend(value)
        else:
            target[key] = value


if __name__ == "__main__":
    files = load(sys.argv[2:], "artifacts")
    try:
        print(json.dumps({name: {service: asdict(job) for service, job in resolve(
            files, name, **json.loads(sys.argv[1])).items()} for name in files["scenarios"]}))
    except ConfigurationError as error:
        sys.exit(str(error))
