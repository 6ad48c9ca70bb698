"""From a file and the environment to ``Settings``, or to everything that is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from chatapp.config.checks import Finding, incomplete_database, wrong_forms, wrong_relations
from chatapp.config.environment import read_environ
from chatapp.config.exposure import exposed, exposed_database
from chatapp.config.given import Given
from chatapp.config.keys import Key, sections
from chatapp.config.problems import ConfigError, Problem
from chatapp.config.settings import Settings
from chatapp.config.signing_keys import EXPECTED_KEY, KeyFormatError, decode_key, weakness_of
from chatapp.config.yaml_file import find_file, read_file

_USER_INFO = re.compile(r"://[^/\s]*@")


def load(path: Path | None, environ: Mapping[str, str], *, complete: bool = True) -> Settings:
    """The settings of defaults, the file over them, and ``environ`` over that.

    ``path``: a file, or a directory with a ``config.yaml``; without it ``CONFIG_PATH`` in ``environ``, without that
    the current directory, where there may be none. ``complete=False`` is for commands that use a part only: a missing
    Redis, signing key or certificate is no problem then. Depends on nothing else.

    Raises ``ConfigError`` with all problems at once.
    """
    given = Given()
    if file := find_file(path, environ, given):
        read_file(file, given)
    read_environ(environ, given)
    settings = _convert(given)
    _report(given, wrong_forms(settings))
    _report(given, incomplete_database(settings))
    _report(given, exposed_database(settings))
    if complete and not given.file_unread:
        _report(given, wrong_relations(settings))
        _report(given, exposed(settings))
        settings = _settle_keys(settings, given)
    if given.problems:
        raise ConfigError(given.problems)
    return msgspec.structs.replace(settings, notices=tuple(given.notices))


def _convert(given: Given) -> Settings:
    """A key whose value is wrong becomes a problem and keeps its default, so that the others can be looked at."""
    converted: dict[str, msgspec.Struct] = {}
    for section in sections():
        values: dict[str, object] = {}
        for key in section.keys:
            if key.dotted in given.origins:
                try:
                    values[key.attribute] = key.convert(given.value(key))
                except ValueError:
                    origin = given.origins[key.dotted]
                    message = f"expected {key.expected}, found {_shown(key, origin.written)}"
                    given.problems.append(Problem(key.dotted, message, origin.source))
        converted[section.name] = section.type(**values)
    return msgspec.convert(converted, Settings)


def _report(given: Given, findings: Iterable[Finding]) -> None:
    wrong = [problem.key for problem in given.problems]
    for finding in findings:
        if not any(key.startswith(finding.involves) for key in wrong):
            source = origin.source if (origin := given.origins.get(finding.key)) else ""
            given.problems.append(Problem(finding.key, finding.message, source))


def _settle_keys(settings: Settings, given: Given) -> Settings:
    """Refuse what is no key, and in production a weak or missing one; elsewhere say so."""
    auth, in_production = settings.auth, settings.general.environment == "production"
    texts = [("auth.paseto_key", auth.paseto_key), *(("auth.paseto_old_keys", old) for old in auth.paseto_old_keys)]
    for name, text in texts:
        problem: str | None = None
        try:
            weakness = None if text is None else weakness_of(decode_key(text.reveal()))
        except KeyFormatError as bad:
            if bad.short and not in_production and text is auth.paseto_key:
                auth = msgspec.structs.replace(auth, paseto_key=None)
                given.notices.append(f"auth.paseto_key is too short and not used: it has {bad.found} instead of 32")
            else:
                problem = f"expected {EXPECTED_KEY}, found {bad.found}"
        else:
            if weakness is not None and in_production:
                problem = f"expected a random key, because general.environment is production, found one that {weakness}"
            elif weakness is not None:
                given.notices.append(f"{name} is unsafe: it {weakness}; production refuses it")
            elif text is None and in_production:
                problem = f"expected {EXPECTED_KEY}, because general.environment is production, found nothing"
        if problem is not None:
            _report(given, [Finding(name, problem, ("auth.paseto_key",) if text is None else ())])
    if auth.paseto_key is None and not in_production:
        given.notices.append("no auth.paseto_key is used: one is made once and kept in .chatapp/")
    return msgspec.structs.replace(settings, auth=auth)


def _shown(key: Key, written: object) -> str:
    """What was found, for the operator; of a secret only that it is none."""
    if key.is_secret:
        return "something else"
    text = _USER_INFO.sub("://***@", repr(written))
    return text if len(text) <= 60 else text[:57] + "…"
