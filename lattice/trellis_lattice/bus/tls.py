"""TLS to a NATS server: the context that our settings mean, and what its failures mean to a person."""

from __future__ import annotations

import ssl

from trellis_lattice.bus.settings import TlsSettings
from trellis_lattice.errors import ConfigError, Unavailable

__all__ = ["client_context", "no_tls_offered", "tls_failure"]

_CERTIFICATE_WANTED = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "BAD_CERTIFICATE", "UNKNOWN_CA")
"""Alerts with which a server says that it does not like what we showed it, or that we showed nothing."""


def client_context(tls: TlsSettings) -> ssl.SSLContext:
    """Raises `ConfigError` if a file does not hold what it should."""
    what, path = "CA file", tls.ca
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        what, path = "TLS certificate", tls.certificate
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:  # an SSLError is one, too
        text = error.strerror or str(error)
        mismatch = isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH"
        raise ConfigError(
            f"The {what} {path} " + ("does not fit its key." if mismatch else f"cannot be used: {_plain(text)}."),
            remedy="It has to be a file in PEM format.",
        ) from error
    return context


def no_tls_offered(where: str) -> Unavailable:
    """We want TLS, the server has none. Going on without it would send what must not be read by others."""
    return _failed(
        f"The NATS server at {where} does not offer TLS, which was asked for.",
        "Use a nats:// url without TLS options, or give the server a `tls` section.",
    )


def tls_failure(where: str, error: Exception, *, first: bool) -> Unavailable:
    """What it means that the handshake with the server at `where` failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _unverified(where, error)
    reason = error.reason or "" if isinstance(error, ssl.SSLError) else ""
    if reason in ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
        hint = "It greets before TLS: leave --tls-first out." if first else "Is this the port of a NATS server?"
        return _failed(f"The NATS server at {where} did not answer with TLS.", hint)
    if any(word in reason for word in _CERTIFICATE_WANTED):
        return _failed(
            f"The NATS server at {where} does not accept our TLS certificate, or wants one and got none.",
            "Give it one with --tls-cert and --tls-key that its CA has signed.",
        )
    return _failed(
        f"TLS with the NATS server at {where} failed: {_plain(str(error)) or type(error).__name__}.",
        "Check the server's `tls` section; its log says more.",
    )


def _unverified(where: str, error: ssl.SSLCertVerificationError) -> Unavailable:
    text = error.verify_message or str(error)
    if "expired" in text:
        return _failed(f"The TLS certificate of the NATS server at {where} has expired.", "Renew it on the server.")
    if "not yet valid" in text:
        return _failed(
            f"The TLS certificate of the NATS server at {where} is not valid yet.",
            "Check the clocks of this machine and of the server.",
        )
    if "match" in text:
        return _failed(
            f"The TLS certificate of the NATS server is not for {where}: {_plain(text)}.",
            "Use the name in the certificate, or put this one into it.",
        )
    return _failed(
        f"The TLS certificate of the NATS server at {where} is not signed by a CA that is trusted here: {text}.",
        "Name the right CA file with --tls-ca.",
    )


def _failed(message: str, remedy: str) -> Unavailable:
    return Unavailable(message, remedy=remedy, retry_after=5.0, reason="tls")


def _plain(text: str) -> str:
    """Without the noise of OpenSSL around it: `[SSL: X] what happened (_ssl.c:1000)`."""
    return text.partition("] ")[2].partition(" (_ssl")[0] if text.startswith("[") else text.rstrip(".")
