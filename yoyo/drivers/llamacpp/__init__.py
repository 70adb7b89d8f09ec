"""llama.cpp's server, asked over HTTP."""
