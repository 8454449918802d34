"""Data: manifest, readers, dataset, sampler, the one datamodule, and the toy world."""
