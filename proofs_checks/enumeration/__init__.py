"""Every draw listed, every coefficient compared, in whole numbers and fractions."""
