"""Identities with SymPy, for symbols where the method allows it."""
