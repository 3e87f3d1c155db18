"""URLs of mounts: taken apart without losing a byte, and shown without a secret."""

from __future__ import annotations

import re

from carv2.errors import MountError

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*\Z")
_AUTHORITY = re.compile(r"\A([A-Za-z][A-Za-z0-9+.-]*://)([^/?#]*)@")
_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s]*@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_LONGEST_SHOWN = 300

_NAME_IN_FRONT = frozenset({"abfs", "abfss", "az", "wasb", "wasbs", "ssh", "sftp", "ftp", "hdfs", "smb"})
"""Schemes where what is in front of ``@`` is a container or a user: a secret only with a password behind it."""

_SECRET_PARAMETER = re.compile(
    r"(?i)(?<=[?&;])((?:x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential)|awsaccesskeyid"
    r"|signature|sig|token|access_token|apikey|api_key|api-key|secret|password|passwd|pwd))=[^&;#]*"
)
"""Parameters of presigned and other URLs that let in whoever has them."""


def scheme_of(url: str) -> str:
    """What is in front of ``://``, in small letters; ``""`` if ``url`` does not begin so."""
    scheme, separator, _ = url.partition("://")
    scheme = scheme.lower()
    return scheme if separator and _SCHEME.match(scheme) else ""


def check_scheme(scheme: str) -> str:
    """``scheme`` in small letters; ValueError if it cannot be one."""
    if not _SCHEME.match(scheme.lower()):
        raise ValueError(f"{scheme!r} cannot be the scheme of a URL")
    return scheme.lower()


def rest_of(url: str, scheme: str) -> str:
    """What comes after ``scheme://``; MountError if ``url`` is another one's."""
    if scheme_of(url) != scheme:
        raise MountError(f"not a URL of the form {scheme}://…", url=shown(url))
    return url[len(scheme) + 3 :]


def check_no_secret(url: str) -> str:
    """``url``, if it holds no secret, as far as can be told; MountError otherwise, which does not repeat it."""
    if _CONTROL.search(url):
        raise MountError("a URL cannot hold control characters", url=shown(url))
    found = _AUTHORITY.match(url)
    if found and (":" in found[2] or scheme_of(url) not in _NAME_IN_FRONT):
        raise MountError(
            "user and password do not belong into a URL, but into the options of its kind", url=shown(url)
        )
    parameter = _SECRET_PARAMETER.search(url)
    if parameter:
        hint = "secrets do not belong into a URL, but into the options of its kind"
        raise MountError(f"the parameter {parameter[1]!r}: {hint}", url=shown(url))
    return url


def shown(url: str) -> str:
    """``url``, or a text with URLs in it, as it may be seen: without secrets, printable, and not too long."""
    text = _USER.sub(r"\1***@", url)
    text = _SECRET_PARAMETER.sub(r"\1=***", text)
    text = _CONTROL.sub(lambda found: f"%{ord(found[0]):02X}", text)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 20]}… ({len(text)} characters)"
