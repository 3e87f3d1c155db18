"""Which form of answer a request wants: ``format`` and the parameters behind it, or the header ``Accept``.

Sources: the Trustless Gateway specification with IPIP-0412 (order, dups) and IPIP-0523 (the URL comes first);
RFC 9110, section 12.5.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from carv2.ipfs.gateway._refusal import RefusalError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RAW, CAR = "application/vnd.ipld.raw", "application/vnd.ipld.car"

_FORMATS = {"raw": RAW, "car": CAR}
_NOT_HERE = {"ipns-record", "json", "cbor", "dag-json", "dag-cbor", "tar", "html"}
"""Known formats that are for gateways which others have to trust, or for names that change."""

_ASK = "ask for ?format=raw or ?format=car, or with the header Accept for application/vnd.ipld.raw or .car"
_MOST_TYPES = 64

_KNOWN = {"version": ("1",), "order": ("dfs", "unk", ""), "dups": ("y", "n", "")}


class Form(NamedTuple):
    """What is to be sent."""

    media_type: str
    dups: bool = False
    """For a CAR: a block comes again wherever the walk comes to it again."""

    @property
    def is_car(self) -> bool:
        """Whether it is an archive, rather than one block."""
        return self.media_type == CAR

    @property
    def content_type(self) -> str:
        """The header of the response."""
        return f"{CAR}; version=1; order=dfs; dups={'y' if self.dups else 'n'}" if self.is_car else RAW


class MediaRange(NamedTuple):
    """One of the types that an ``Accept`` header lists."""

    media_type: str
    parameters: dict[str, str]
    quality: float


def form_of(query: Mapping[str, str], accept: str) -> Form:
    """The form that a request wants.

    Raises:
        RefusalError: none that there is, or it does not say.
    """
    wished = query.get("format", "")
    ranges = sorted(_ranges_in(accept), key=lambda each: -each.quality)  # of equals, the first
    if wished:
        media_type = _type_named(wished)
        ranges = [each for each in ranges if each.media_type == media_type]
        if media_type == RAW or not ranges:
            return Form(media_type, _dups(query, {}))
    for each in ranges:
        if each.media_type == RAW:
            return Form(RAW)
        if each.media_type == CAR and _is_known({**each.parameters, **_of_url(query)}):
            return Form(CAR, _dups(query, each.parameters))
    raise _none_of(ranges)


def _type_named(wished: str) -> str:
    if wished in _NOT_HERE:
        raise RefusalError(406, f"format={wished} is not served here, only what a client can verify: {_ASK}")
    if wished not in _FORMATS:
        raise RefusalError(400, f"format={wished} is none: {_ASK}")
    return _FORMATS[wished]


def _none_of(ranges: list[MediaRange]) -> RefusalError:
    """Nothing in ``Accept`` is served here. A wildcard is no wish: browsers and curl send one with everything."""
    if any(each.media_type == CAR for each in ranges):
        return RefusalError(
            406, "of archives, version=1 with order=dfs or order=unk and dups=y or dups=n are served"
        )
    if not ranges or any(each.media_type.endswith("*") for each in ranges):
        return RefusalError(400, f"no format: {_ASK}")
    return RefusalError(406, f"no such format: {_ASK}")


def _ranges_in(accept: str) -> Iterator[MediaRange]:
    for item in accept.lower().split(",")[:_MOST_TYPES]:
        media_type, *rest = (part.strip() for part in item.split(";"))
        pairs = [part.partition("=") for part in rest]
        parameters = {name.strip(): value.strip().strip('"') for name, _, value in pairs if name}
        quality = _quality_of(parameters.pop("q", "1"))
        if media_type and quality > 0:
            yield MediaRange(media_type, parameters, quality)


def _quality_of(text: str) -> float:
    try:
        return min(1.0, float(text)) if len(text) <= 5 else 0.0  # three digits behind the point
    except ValueError:
        return 0.0


def _of_url(query: Mapping[str, str]) -> dict[str, str]:
    """The parameters of an archive that the URL gives.

    Raises:
        RefusalError: one has a value that it cannot have.
    """
    given = {name: query[f"car-{name}"] for name in _KNOWN if query.get(f"car-{name}")}
    for name, value in given.items():
        if value not in _KNOWN[name]:
            allowed = " and ".join(each for each in _KNOWN[name] if each)
            raise RefusalError(400, f"car-{name}={value} is not served here, only {allowed}")
    return given


def _is_known(parameters: Mapping[str, str]) -> bool:
    return all(parameters.get(name, values[0]) in values for name, values in _KNOWN.items())


def _dups(query: Mapping[str, str], parameters: Mapping[str, str]) -> bool:
    return {**parameters, **_of_url(query)}.get("dups") == "y"
