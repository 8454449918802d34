"""Entry points: our own are registered like anybody's."""

from vssl import plugins


def test_built_in_methods_come_through_the_entry_points():
    found = {p.name: p.path for p in plugins.listed(plugins.METHODS)}
    assert found["vito"] == "vssl.methods.vito.VITO"
    assert found["vspp"] == "vssl.methods.vspp.VSPP"
    assert plugins.load(plugins.METHODS) == {}
