"""How good an edited video is, against the true edit where there is one."""
