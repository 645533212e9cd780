"""How we reach the world: folder = technology."""
