"""What travels: ids, views, commands, events, topics, codes. Types only; no I/O, and nothing above is imported."""
