"""What an adapter is, who vouches for it, and which one is chosen: pure."""
