"""Following one piece of work: the ids in the lines that it logs, and its spans where tracing is on.

``work`` what the running task is about · ``port`` what a tracer can do · ``spans`` every span there is ·
``opening`` a tracer by the settings · ``opentelemetry`` the only module that knows OpenTelemetry, and an extra.
"""
