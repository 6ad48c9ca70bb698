"""PostgreSQL: tables, the engine, and statements. One function is one act on the database; drivers' errors end here."""
