"""Protocols that train on clips: the whole network (finetune) or a head on the frozen encoder's map (attentive)."""

TASKS = ("finetune", "attentive")
"""Tasks of protocols that need the encoder itself, where a readout needs its features alone."""
