"""The one place that builds things and starts tasks.

``serve`` a host's processes · ``replica`` builds one replica and owns its tasks · ``server`` uvicorn, and the drain ·
``rotation`` changes keys · ``logs`` · ``metrics`` · ``tracing`` by the settings.
"""
