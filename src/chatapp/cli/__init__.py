"""The commands, one module for each group of them.

Exit status: 0 done, 1 failed, 2 the configuration or the command line is wrong, 130 interrupted. What builds, serves
and connects is imported where it is used, so that ``--help`` and ``health`` are quick.
"""

from __future__ import annotations

import click

from chatapp.cli.audit import audit
from chatapp.cli.chat import chat
from chatapp.cli.config import config
from chatapp.cli.demo import demo
from chatapp.cli.doctor import doctor
from chatapp.cli.health import health
from chatapp.cli.key import key
from chatapp.cli.server import server
from chatapp.cli.stats import stats
from chatapp.cli.system import system
from chatapp.cli.tail import tail
from chatapp.cli.token import token
from chatapp.cli.user import user

_COMMANDS: tuple[click.Command, ...] = (
    server,
    system,
    config,
    key,
    health,
    doctor,
    stats,
    user,
    token,
    audit,
    chat,
    tail,
    demo,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chatapp")
def main() -> None:
    """A chat backend that scales by adding replicas."""


for _command in _COMMANDS:
    main.add_command(_command)
