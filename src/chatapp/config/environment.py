"""The environment: ``CHATAPP_SECTION__KEY`` for every key, and the few short names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from chatapp.config.given import Given
from chatapp.config.keys import ENV_PREFIX, Key, keys
from chatapp.config.problems import Problem
from chatapp.config.yaml_file import split

FOREIGN_PREFIXES = tuple(ENV_PREFIX + word for word in ("TEST_", "BENCH_", "INTERNAL_", "URL", "USER", "PASSWORD"))
"""Not settings: for tests and benchmarks, and between the service's own processes."""

# What Kubernetes puts into each container for every Service whose name begins with "chatapp".
_SERVICE_LINK = re.compile(r"(_[A-Z0-9]+)*_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_[A-Z]+(_[A-Z]+)?)")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
_LARGEST_SECRET_BYTES = 65536


def read_environ(environ: Mapping[str, str], given: Given) -> None:
    """Add what the environment says. An empty variable counts as absent.

    A secret may also be given as the path of a file that holds it, in the variable's name with ``_FILE`` behind.
    """
    variables = {name: value for name, value in environ.items() if value != ""}
    names = {name: key for key in keys().values() for name in _names(key)}
    for name, key in sorted(names.items(), key=lambda item: item[0] == item[1].env_alias):  # short names last: they win
        in_file = f"{name}_FILE" if key.is_secret else None
        if in_file in variables and name in variables:
            given.problems.append(Problem(key.dotted, f"expected {name} or {in_file}, found both", "environment"))
        elif in_file is not None and in_file in variables:
            _put_file(key, in_file, Path(variables[in_file]), given)
        elif name in variables:
            _put(key, variables[name], f"environment variable {name}", given)
    secret_files = {f"{name}_FILE" for name, key in names.items() if key.is_secret}
    for name in sorted(variables.keys() - names.keys() - secret_files):
        if name.startswith(ENV_PREFIX) and not _is_foreign(name, variables[name]):
            _refuse(name, sorted(names), given)


def secret_files(environ: Mapping[str, str], section: str) -> tuple[Path, ...]:
    """The files that hold secrets of this section, as far as variables name them."""
    names = [name for key in keys().values() if key.is_secret and key.section == section for name in _names(key)]
    return tuple(Path(path) for name in names if (path := environ.get(f"{name}_FILE")))


def _names(key: Key) -> list[str]:
    return [name for name in (key.env, key.env_alias) if name is not None]


def _put(key: Key, text: str, source: str, given: Given) -> None:
    """Texts are taken as they are; the rest, and lists in brackets, as TOML."""
    if key.is_list and not text.lstrip().startswith("["):
        given.put(key, split(text), source)
    else:
        given.put(key, text, source, toml=key.is_list or not key.is_text)


def _put_file(key: Key, variable: str, path: Path, given: Given) -> None:
    source = f"environment variable {variable}"
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_SECRET_BYTES).decode().rstrip("\r\n")
    except OSError as error:
        given.problems.append(Problem(key.dotted, f"expected a readable file, found: {error.strerror}", source))
    except UnicodeDecodeError:
        given.problems.append(Problem(key.dotted, "expected a file in UTF-8, found other bytes", source))
    else:
        if text or key.is_list:  # no old keys is a good answer
            _put(key, text, source, given)
        else:
            given.problems.append(Problem(key.dotted, "expected a file that holds it, found nothing in it", source))


def _is_foreign(name: str, value: str) -> bool:
    if name.startswith(FOREIGN_PREFIXES):
        return True
    rest = name.removeprefix(ENV_PREFIX.rstrip("_"))
    return _SERVICE_LINK.fullmatch(rest) is not None or (name.endswith("_PORT") and bool(_SERVICE_ADDRESS.match(value)))


def _refuse(name: str, known: list[str], given: Given) -> None:
    source = f"environment variable {name}"
    section, separator, rest = name.removeprefix(ENV_PREFIX).lower().partition("__")
    if separator:
        given.find((section, *rest.split("__")), source)
        return
    close = get_close_matches(name, known, n=1, cutoff=0.75)
    hint = f"; did you mean {close[0]}?" if close else ""
    message = f"there is no key for this variable, which should be {ENV_PREFIX}SECTION__KEY{hint}"
    given.problems.append(Problem(name, message, source))
