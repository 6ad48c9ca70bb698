"""What may be done, and what follows from it: authorise, write, publish after the commit."""
