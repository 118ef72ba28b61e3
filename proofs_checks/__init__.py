"""The claims of rpstheory checked from outside: exact enumeration and symbolic proof."""
