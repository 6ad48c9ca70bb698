"""A chat backend that scales by adding replicas.

The rooms of the house, from the top; imports point down only (``pyproject.toml``, ``importlinter``):

``cli`` commands · ``app`` builds everything once · ``config`` settings · ``embedded`` own PostgreSQL and Valkey ·
``api`` REST and the socket's handshake · ``gateway`` live connections of this replica · ``services`` what may be done
and what follows from it · ``storage`` PostgreSQL · ``bus`` Redis pub/sub · ``auth`` passwords and tokens ·
``client`` the other side · ``tracing`` following one piece of work · ``errors`` what can go wrong ·
``protocol`` what travels.
"""
