"""Who is asking: password hashes, tokens and their revocation. In memory and in threads; nothing here does I/O."""
