"""How often something may be done: counted on each replica, and together over Redis."""
