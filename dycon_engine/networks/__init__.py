"""Networks: image -> `Features`; no losses, no training flags."""

from dycon_engine.networks.base import Features, Network
from dycon_engine.networks.build import NETWORKS, NetworkBuilder, build_network

__all__ = ["NETWORKS", "Features", "Network", "NetworkBuilder", "build_network"]
