"""Is this certificate acceptable? Pure judgement over bytes, certificates and a time."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from esb_common.errors import BadInput

RENEW_DAYS = 30
_ASK = "put the right file there; ESB never overwrites it"


def root(content: bytes, path: str, now: dt.datetime) -> x509.Certificate:
    """The one CA certificate in ``content``, valid at ``now``. BadInput names ``path`` and what is wrong."""
    certificate = _only_certificate(content, path)
    if not is_authority(certificate):
        raise BadInput(f"{path} is not a certificate authority (CA:TRUE with the right to sign)", _ASK)
    refuse_outside(certificate, path, now, _ASK)
    return certificate


def chain(content: bytes, path: str) -> list[x509.Certificate]:
    """The certificates of a PEM file, the server's own first. BadInput where there is none."""
    refuse_empty(content, path)
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        hint = f"a DER file becomes PEM by: openssl x509 -inform der -in {path} -out NEW.crt"
        raise BadInput(f"{path} is not a PEM certificate", hint) from None


def refuse_empty(content: bytes, path: str) -> None:
    """BadInput for a file without content."""
    if not content.strip():
        raise BadInput(f"{path} is empty", "remove it, or put the right file there")


def refuse_outside(certificate: x509.Certificate, path: str, now: dt.datetime, hint: str) -> None:
    """BadInput where ``now`` is not within the certificate's validity."""
    if now < certificate.not_valid_before_utc:
        begins = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        raise BadInput(f"{path} is not valid before {begins}, and it is {now:%Y-%m-%d %H:%M} UTC here", hint)
    if now >= certificate.not_valid_after_utc:
        raise BadInput(f"{path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}", hint)


def is_authority(certificate: x509.Certificate) -> bool:
    """CA:TRUE and, where a key usage is given, the right to sign certificates (RFC 5280, 4.2.1.3 and .9)."""
    basic = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    return basic is not None and basic.ca and (usage is None or usage.key_cert_sign)


def is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether ``issuer``'s key directly signed it (validity is not looked at)."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def names(certificate: x509.Certificate | x509.CertificateSigningRequest) -> frozenset[str]:
    """Its DNS names and addresses (subjectAltName)."""
    found = _extension(certificate, x509.SubjectAlternativeName)
    if found is None:
        return frozenset()
    addresses = found.get_values_for_type(x509.IPAddress)
    return frozenset(found.get_values_for_type(x509.DNSName)) | frozenset(map(str, addresses))


def general_names(wanted: Iterable[str]) -> list[x509.GeneralName]:
    """The names as subjectAltName holds them, addresses as addresses."""
    return [_general_name(name) for name in wanted]


def same_key(one: x509.Certificate | x509.CertificateSigningRequest, other: bytes) -> bool:
    """Whether its public key is ``other`` (as :func:`public_bytes` gives it)."""
    return one.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == other


def due(certificate: x509.Certificate, wanted: frozenset[str], now: dt.datetime) -> str | None:
    """Why a certificate that we may sign again should be; None while it is good."""
    if not wanted <= names(certificate):
        return f"it lacks {', '.join(sorted(wanted - names(certificate)))}"
    if now < certificate.not_valid_before_utc:
        return "it is not yet valid"
    if certificate.not_valid_after_utc - now < dt.timedelta(days=RENEW_DAYS):
        return f"it ends on {certificate.not_valid_after_utc:%Y-%m-%d}"
    return None


def fingerprint(certificate: x509.Certificate) -> str:
    """The SHA-256 of its DER, as 64 hex digits."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def _only_certificate(content: bytes, path: str) -> x509.Certificate:
    if b"PRIVATE KEY" in content:
        raise BadInput(f"{path} holds a private key, which would end up in every image", "take it out")
    certificates = chain(content, path)
    if len(certificates) != 1:
        raise BadInput(
            f"{path} holds {len(certificates)} certificates, not one", "leave the root alone in it"
        )
    return certificates[0]


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _extension[E: x509.ExtensionType](
    certificate: x509.Certificate | x509.CertificateSigningRequest, kind: type[E]
) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
