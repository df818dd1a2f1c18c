"""How masks move while a network trains."""
