"""The service's own PostgreSQL and Valkey, from installed packages, for when nothing else is configured.

For trying the service and for developing it: one command and no other software. Everything lives in ``.chatapp/``
under the directory of the start, and belongs to all replicas that are started there::

    .chatapp/lock                   held for as long as somebody starts or stops the servers
    .chatapp/users                  shared by every replica that uses them, for its whole life
    .chatapp/postgres.lock, .log    held by the server itself: it is taken exactly as long as the server runs
    .chatapp/postgres.json          port and password
    .chatapp/pgdata/                the database, durable
    .chatapp/valkey.lock, .log, .json, .conf
    .chatapp/paseto_key             the signing key

What is held are ``flock`` locks, which the kernel lets go of when a process ends, however it ends. So there is no
state that could be stale: who holds a lock is alive, and a process id is only believed while its lock is held.

``services`` joins and leaves · ``postgres``, ``valkey`` one server each · ``daemon`` starts, finds, ends one ·
``launch`` the small program in between that detaches it · ``access`` port and password · ``files`` private files and
the signing key · ``errors``.
"""

from chatapp.embedded.errors import ExtraNotInstalled, OwnServicesError
from chatapp.embedded.files import signing_key
from chatapp.embedded.services import Endpoints, OwnServices, find_running

__all__ = ["Endpoints", "ExtraNotInstalled", "OwnServices", "OwnServicesError", "find_running", "signing_key"]
