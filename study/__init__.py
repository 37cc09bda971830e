"""The study: what is true of the contest's claims, of the other tools, and of our defaults; each by a command."""
