"""Google Compute Engine: a node is one instance, its disk, and two firewall rules."""
