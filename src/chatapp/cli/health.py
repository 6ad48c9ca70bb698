"""``health``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from chatapp.cli.configured import config_option, load_settings
from chatapp.config import Settings

_PROBE_TIMEOUT_S = 5.0


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="JSON: ready, and why not.")
@click.pass_context
def health(context: click.Context, path: Path | None, as_json: bool) -> None:
    """Ask the replica on this host whether it is ready; exit with 0 if so, else 1. For container health checks."""
    settings = load_settings(path, complete=False, quiet=True)
    status = _probe(f"{own_url(settings)}/health/ready")
    click.echo(json.dumps({"ready": status is None, "reason": status}) if as_json else status or "ready")
    context.exit(1 if status else 0)


def own_url(settings: Settings) -> str:
    """Of the replica on this host: on the loopback, unless the service listens on one address only."""
    general = settings.general
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "127.0.0.1"}.get(general.host, general.host)  # noqa: S104
    scheme = "https" if general.tls_cert_file else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{general.port}"


def _probe(url: str) -> str | None:
    """Why the replica is not ready; None when it is."""
    import ssl
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import HTTPSHandler, ProxyHandler, build_opener

    certificate_is_ours = ssl.create_default_context()  # its name is that of the service, not of the loopback
    certificate_is_ours.check_hostname = False
    certificate_is_ours.verify_mode = ssl.CERT_NONE
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=certificate_is_ours))
    try:
        with opener.open(url, timeout=_PROBE_TIMEOUT_S) as response:
            return None if response.status == 200 else f"not ready: HTTP {response.status}"
    except HTTPError as error:
        with error:
            return f"not ready: HTTP {error.code}"
    except URLError as error:
        return f"not reachable: {error.reason}"
    except (OSError, HTTPException) as error:
        return f"not reachable: {error}"
