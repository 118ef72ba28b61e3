"""Parameters shared across the layers of a trained transformer: one method, one file, one interface."""
