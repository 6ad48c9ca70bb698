"""The proof that nothing acknowledged is lost, doubled or reordered, whatever dies meanwhile.

``run`` drives clients (``client``) against a real cluster (``cluster``) while ``faults`` break it; what everybody did
and saw (``history``) is then held against the rows in PostgreSQL (``checker``).
"""
