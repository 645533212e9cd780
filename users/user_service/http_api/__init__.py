"""How the world reaches us: HTTP."""
