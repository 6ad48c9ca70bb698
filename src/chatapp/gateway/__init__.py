"""The live connections of this replica: sessions, rooms, and the hub that brings them together. Knows no HTTP."""
