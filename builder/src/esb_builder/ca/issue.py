"""Makes keys, certificates and requests. Elliptic curve P-256, SHA-256, RFC 5280's profile."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from esb_common.errors import BadInput

from esb_builder.ca import judge

ROOT_DAYS = 3653
LEAF_DAYS = 820
"""Below the 825 days that clients accept at most from a private authority."""

_SKEW = dt.timedelta(hours=1)
"""A client's clock may be behind ours."""

Key = CertificateIssuerPrivateKeyTypes


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh private key."""
    return ec.generate_private_key(ec.SECP256R1())


def root(key: Key, host: str, now: dt.datetime) -> x509.Certificate:
    """A self-signed authority that may sign servers but no further authority."""
    name = _name(f"ESB root CA of {host}"[:64])
    return (
        _draft(name, name, key, now, ROOT_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def leaf(
    key: Key, names: Iterable[str], issuer: x509.Certificate, issuer_key: Key, now: dt.datetime
) -> x509.Certificate:
    """A server's certificate for ``names``; it never outlives its issuer."""
    wanted = sorted(names)
    days = min(LEAF_DAYS, (issuer.not_valid_after_utc - now).days)
    return (
        _draft(_name("gateway"), issuer.subject, key, now, days)
        .add_extension(x509.SubjectAlternativeName(judge.general_names(wanted)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_authority_of(issuer, issuer_key), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def request(key: Key, names: Iterable[str]) -> x509.CertificateSigningRequest:
    """What a company's authority needs to sign the gateway's certificate (PKCS #10)."""
    alternative = x509.SubjectAlternativeName(judge.general_names(sorted(names)))
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name("gateway"))
    return builder.add_extension(alternative, critical=False).sign(key, hashes.SHA256())


def key_bytes(key: Key) -> bytes:
    """The private key as PEM (PKCS #8), not encrypted: the file's mode protects it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_bytes(key: Key) -> bytes:
    """The public half as DER, for comparison."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def load_key(content: bytes, path: str) -> Key:
    """A private key from PEM. BadInput where it is none, or needs a password."""
    judge.refuse_empty(content, path)
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError:
        raise BadInput(
            f"{path} needs a password", "the gateway starts unattended: store it without"
        ) from None
    except ValueError:
        raise BadInput(
            f"{path} is not a private key in PEM", "remove it, or put the right file there"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise BadInput(f"{path} is not a key that TLS servers use", "use an elliptic-curve or RSA key")
    return key


def pem(what: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    """As PEM."""
    return what.public_bytes(Encoding.PEM)


def _draft(
    subject: x509.Name, issuer: x509.Name, key: Key, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _name(common: str) -> x509.Name:
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Edge Serverless Box")
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_of(issuer: x509.Certificate, key: Key) -> x509.AuthorityKeyIdentifier:
    """By the issuer's own identifier where it has one: some authorities do not hash their key."""
    try:
        own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
