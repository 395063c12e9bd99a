"""TLS as BCP 195 asks for it (PS3.15 B.9 to B.12): 1.2 with its ciphers and 1.3, nothing older."""

from __future__ import annotations

import pathlib
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from node import errors, model

# The TLS 1.2 suites that RFC 9325 4.2 recommends: forward secrecy and authenticated encryption only.
# DICOM's profile also names the DHE ones, for peers without elliptic curves.
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384"
)
CHECK_EVERY = 1.0  # seconds between looks at the certificate files


def server(settings: model.TlsSettings) -> ssl.SSLContext:
    """What the listener shows, and whom it asks for a certificate; ConfigError when that cannot work."""
    if settings.certificate is None:
        raise errors.ConfigError(
            "tls.port is set and tls.certificate is not: give the PEM chain of this node"
        )
    if settings.client_certificate and settings.ca is None:
        raise errors.ConfigError(
            "tls.client_certificate is set and tls.ca is not: give the PEM of the authorities "
            "that vouch for peers"
        )
    context = _profile(ssl.PROTOCOL_TLS_SERVER)
    _load(context, settings)
    if settings.ca is not None:
        # Whoever shows a certificate is checked; only the setting makes it a must.
        context.verify_mode = ssl.CERT_REQUIRED if settings.client_certificate else ssl.CERT_OPTIONAL
    return context


def client(settings: model.TlsSettings) -> ssl.SSLContext:
    """What we show a peer that we call, and who must vouch for it."""
    context = _profile(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # connect() checks the name: it may be one that is no host name
    context.verify_mode = ssl.CERT_REQUIRED
    _load(context, settings)
    if settings.ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def _profile(protocol: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_SINGLE_ECDH_USE
    return context


def _load(context: ssl.SSLContext, settings: model.TlsSettings) -> None:
    if settings.certificate is not None:
        key = settings.key or settings.certificate
        try:
            # A key that asks for a passphrase would wait at a terminal that a daemon has not.
            context.load_cert_chain(settings.certificate, settings.key, password=_no_passphrase)
        except FileNotFoundError as error:
            raise errors.ConfigError(
                f"tls.certificate {settings.certificate} or tls.key {key} does not exist"
            ) from error
        except (OSError, _NoPassphrase) as error:
            raise errors.ConfigError(
                f"tls.certificate {settings.certificate} and tls.key {key} do not work together "
                f"({_words(error)}): give PEM files of one pair, the key without a passphrase"
            ) from error
    if settings.ca is not None:
        try:
            context.load_verify_locations(settings.ca)
        except OSError as error:
            raise errors.ConfigError(
                f"tls.ca {settings.ca} cannot be used ({_words(error)}): give a PEM file of certificates"
            ) from error


class _NoPassphrase(Exception):
    """OpenSSL asked for a passphrase."""


def _no_passphrase() -> str:
    raise _NoPassphrase("the key is encrypted")


def _words(error: BaseException) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


class Reloading:
    """A TLS context that follows its files: a renewed certificate is used from the next handshake on."""

    def __init__(
        self,
        settings: model.TlsSettings,
        make: Callable[[model.TlsSettings], ssl.SSLContext] = server,
        reloaded: Callable[[], None] = lambda: None,
        refused: Callable[[errors.ConfigError], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._make = make
        self._reloaded = reloaded
        self._refused = refused
        self._lock = threading.Lock()
        self._seen = self._stamp()
        self._looked = time.monotonic()
        self._context = make(settings)

    def context(self) -> ssl.SSLContext:
        """The context as the files say; the old one as long as new files cannot be used."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked < CHECK_EVERY:
                return self._context
            self._looked = now
            stamp = self._stamp()
            if stamp == self._seen:
                return self._context
            self._seen = stamp
            try:
                self._context = self._make(self._settings)
            except errors.ConfigError as error:
                # Certificate and key are renewed one after the other: the next change is looked at again.
                self._refused(error)
            else:
                self._reloaded()
            return self._context

    def _stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        files = (self._settings.certificate, self._settings.key, self._settings.ca)
        return tuple(_stat(path) for path in files)


def _stat(path: pathlib.Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def names(certificate: dict[str, Any] | None) -> tuple[str, ...]:
    """The names in a verified certificate, as getpeercert() gives it; the common name first."""
    if not certificate:
        return ()
    found = [
        value
        for group in certificate.get("subject", ())
        for key, value in group
        if key == "commonName" and isinstance(value, str)
    ]
    found += [value for _, value in certificate.get("subjectAltName", ()) if isinstance(value, str)]
    return tuple(dict.fromkeys(found))


def matches(found: Iterable[str], wanted: str) -> bool:
    """Whether one of a certificate's names is the wanted one; a leading `*.` stands for one label."""
    wanted = wanted.casefold()
    domain = wanted.partition(".")[2]
    return any(
        name == wanted or (name.startswith("*.") and domain == name[2:] != "")
        for name in (text.casefold() for text in found)
    )


def failure(error: BaseException) -> str:
    """Why a handshake failed, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not accepted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "the TLS handshake was not finished in time"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return f"the TLS handshake failed: {reason}"
    return f"the TLS handshake broke off ({_words(error)})"
