"""The service as one would show it: two replicas, people with something to say, and a bot.

``show`` is all of it, in order: ``replicas`` starts the processes, ``people`` registers who is in ``story`` and lets
them talk, ``bot`` answers. Everything is on the loopback, in a directory that is removed at the end, with names and
passwords of its own; what is configured for a real service is not looked at.
"""
