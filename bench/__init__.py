"""Benchmarks: what the service costs, as ratios to a floor that is measured beside it in the same run.

``python -m bench`` (``make bench``) runs all workloads and writes ``docs/benchmarks.md``;
``python -m bench.compare REV_A REV_B`` sets two revisions side by side.

``workloads`` what is measured, one module a kind · ``floor.c`` the least that fan-out can cost · ``load.c`` the
clients · ``naive`` a session and a commit for each message · ``rig`` what a run has: cores, servers, databases ·
``results`` what comes out · ``page``, ``plots`` how it is shown.
"""
