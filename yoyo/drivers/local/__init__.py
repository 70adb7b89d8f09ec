"""The `local` platform: a supervised llama.cpp server on this machine, loopback only."""
