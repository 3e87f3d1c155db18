"""What a block holds, by the codec of its CID: its links, and its value."""

from carv2.codec.registry import Codec, decode, encode, links, links_of, register

__all__ = ["Codec", "decode", "encode", "links", "links_of", "register"]
