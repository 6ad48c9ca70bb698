"""Metrics: read from the parts' own counters when Prometheus asks, so that counting costs next to nothing on the way.

``family`` what a metric is · ``sockets``, ``messages``, ``delivery``, ``stores``, ``requests``, ``process`` the metrics
by subject, each with what to do about it · ``catalogue`` all of them · ``collector`` one replica's · ``text`` how they
are written · ``page`` what ``/metrics`` answers, for all workers of a host · ``lag`` and ``http`` count what no other
part does.
"""
