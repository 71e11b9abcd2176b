"""TLS for clients of a cluster whose nodes have certificates."""

from __future__ import annotations

import os
import ssl
from typing import Union

from .errors import NodeUnusable

_Path = Union[str, "os.PathLike[str]"]


def tls_context(*, certificate: _Path, key: _Path, authority: _Path) -> ssl.SSLContext:
    """What :class:`quorate.Client` takes as ``tls``.

    Args:
        certificate: this client's certificate (PEM), with those up to the authority. It bears a name
            ``quorate://client/NAME``.
        key: its private key (PEM).
        authority: certificates of the authorities that are trusted (PEM).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # A node is known by the name in its certificate, whatever host it is found at: see check_node.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cafile=authority)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["quorate-client/1"])
    return context


def check_node(tls: Union[ssl.SSLObject, ssl.SSLSocket]) -> str:
    """The name in the certificate of the node at the other end.

    Raises:
        NodeUnusable: it bears none, or the other end does not speak this protocol.
    """
    if tls.selected_alpn_protocol() != "quorate-client/1":
        raise NodeUnusable("does not speak quorate-client/1: is this a node's client address?")
    certificate = tls.getpeercert() or {}
    for entry in certificate.get("subjectAltName", ()):
        kind, value = str(entry[0]), str(entry[1])
        if kind == "URI" and value.startswith("quorate://peer/"):
            return value[len("quorate://peer/") :]
    raise NodeUnusable("its certificate bears no name quorate://peer/NAME")
