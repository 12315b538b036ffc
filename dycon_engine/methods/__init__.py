"""The training recipes by name."""

from __future__ import annotations

from dycon_engine.data.geometry import Spacing
from dycon_engine.errors import InputError
from dycon_engine.methods.base import Method
from dycon_engine.methods.dec_seg import DecSeg
from dycon_engine.methods.dual_network import DualNetwork
from dycon_engine.methods.dycon import Dycon
from dycon_engine.methods.mean_teacher import MeanTeacher
from dycon_engine.methods.supervised import Supervised
from dycon_engine.methods.supervision import Supervision
from dycon_engine.methods.ua_mt import UaMt
from dycon_engine.methods.ug_mcl import UgMcl
from dycon_engine.networks.composing import BuildNetwork
from dycon_engine.settings import Table, build, known

METHODS: dict[str, type[Method]] = {
    "dec_seg": DecSeg,
    "dual_network": DualNetwork,
    "dycon": Dycon,
    "mean_teacher": MeanTeacher,
    "supervised": Supervised,
    "ua_mt": UaMt,
    "ug_mcl": UgMcl,
}


def build_method(
    name: str,
    settings: Table,
    build_network: BuildNetwork,
    *,
    spacing_mm: Spacing = (1.0, 1.0, 1.0),
) -> Method:
    """Return the method `name` with its networks built and `settings` checked.

    Args:
        name: Of `METHODS`.
        settings: Of the recipe.
        build_network: Makes its networks.
        spacing_mm: Of the patches it will see, (z, y, x).

    Raises:
        InputError: An unknown method or setting (naming the nearest known one), a bad value, or a
            method without `supervision`.
    """
    kind = METHODS[known(name, METHODS, "method")]
    method = kind(build_network, build(kind.Config, settings, "method"))
    if not isinstance(getattr(method, "supervision", None), Supervision):
        raise InputError(
            f"method '{name}': {kind.__name__} has no `supervision`; at the end of its __init__ "
            "write self.supervision = Supervision(config, network) (methods/supervision.py)"
        )
    method.supervision.spacing_mm = spacing_mm
    return method
