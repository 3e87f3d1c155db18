"""A read-only trustless gateway: an ASGI app that serves blocks and archives out of any blockstore.

Source: the Trustless Gateway specification (https://specs.ipfs.tech/http-gateways/trustless-gateway/).
"""

from carv2.ipfs.gateway.app import Gateway, GatewayLimits, create_gateway

__all__ = ["Gateway", "GatewayLimits", "create_gateway"]
