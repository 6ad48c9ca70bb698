"""A PgBouncer in transaction mode that a test may kill and start again, if the program is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.ports import free_port

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
WHY_NOT = "there is no pgbouncer here: apt-get install pgbouncer"

_CONFIGURATION = """
[databases]
* = host={host} port={server_port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 200
query_wait_timeout = 5
server_login_retry = 1
logfile = {directory}/pgbouncer.log
"""


class PrivatePgBouncer:
    """Before one PostgreSQL. It has fewer connections to it than it is given, so that clients take turns."""

    def __init__(self, server_url: str, pool_size: int = 3) -> None:
        assert PROGRAM is not None
        server = urlsplit(server_url)
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="chatapp-pgbouncer-"))
        self._user: dict[str, int] = {}
        if os.geteuid() == 0:  # it refuses to be root
            nobody = pwd.getpwnam("nobody")
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid}
            os.chown(self._directory, nobody.pw_uid, nobody.pw_gid)
        self._configuration = self._directory / "pgbouncer.ini"
        self._configuration.touch(0o644)
        self._configuration.write_text(
            _CONFIGURATION.format(
                host=server.hostname,
                server_port=server.port,
                user=server.username,
                password=server.password or "",
                port=self.port,
                pool_size=pool_size,
                directory=self._directory,
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    def before(self, database_url: str) -> str:
        """The address of this database through the pool."""
        server = urlsplit(database_url)
        return server._replace(netloc=f"{server.username}@127.0.0.1:{self.port}").geturl()

    def start(self) -> None:
        assert PROGRAM is not None
        self._process = subprocess.Popen(
            [PROGRAM, "-q", str(self._configuration)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user.get("user"),
            group=self._user.get("group"),
        )
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                log = self._directory / "pgbouncer.log"
                assert time.monotonic() < deadline, log.read_text() if log.exists() else "pgbouncer did not start"
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)
