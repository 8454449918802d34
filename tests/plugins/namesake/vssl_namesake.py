"""A third party's method that happens to be called like one of ours."""

from vssl_good import Dropper


class VITO(Dropper):
    pass
