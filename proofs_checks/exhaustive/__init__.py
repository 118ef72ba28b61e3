"""Every small case of statements about single draws: runs, rows, residuals, tails."""
