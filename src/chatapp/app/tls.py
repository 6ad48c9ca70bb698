"""The server's own certificate, for HTTPS and wss without a proxy."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from chatapp.config import GeneralSettings

_log = logging.getLogger(__name__)


class ServerCertificate:
    """One context for the life of a replica; its certificate is exchanged under it. Open connections stay."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises ``OSError`` (``ssl.SSLError`` is one) for files that cannot be read, or that are no pair."""
        self.files = (certificate, key)
        self.context = _context(self.files)
        self._loaded = self._contents()

    @classmethod
    def configured(cls, general: GeneralSettings) -> ServerCertificate | None:
        """The one of the settings; None without. Raises ``OSError``."""
        if general.tls_cert_file is None or general.tls_key_file is None:
            return None
        return cls(Path(general.tls_cert_file), Path(general.tls_key_file))

    def read_anew(self) -> None:
        """Take what the files hold now for handshakes to come. What is no pair is logged, and nothing changes.

        For the thread that does the handshakes: in between, the context has a certificate without its key.
        """
        try:
            contents = self._contents()
            if contents == self._loaded:
                return
            _context(self.files)  # a context that was given half of a wrong pair would serve nobody any more
            self.context.load_cert_chain(*self.files)
        except OSError as error:
            _log.error("the certificate stays as it is: %s", error)
            return
        self._loaded = contents
        _log.info("new connections are given the certificate that is now in %s", self.files[0])

    def _contents(self) -> tuple[bytes, ...]:
        return tuple(file.read_bytes() for file in self.files)


def _context(files: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # of TLS 1.2; those of 1.3 are all good
    context.load_cert_chain(*files)
    return context
