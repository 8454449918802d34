"""The built-in methods, one file each; found through the entry-point group `vssl.methods` like anybody's."""
