"""``key generate``."""

from __future__ import annotations

import json

import click


@click.group()
def key() -> None:
    """Look after the keys of tokens."""


@key.command()
@click.option("--json", "as_json", is_flag=True, help="JSON, with the key's fingerprint.")
def generate(as_json: bool) -> None:
    """Print a new key for auth.paseto_key, of 32 random bytes. Nothing keeps it: see docs/keys.md for what to do."""
    import secrets

    made = secrets.token_bytes(32)
    if as_json:
        from chatapp.auth.keys import SigningKey

        click.echo(json.dumps({"key": made.hex(), "id": SigningKey(made).key_id}))
    else:
        click.echo(made.hex())
