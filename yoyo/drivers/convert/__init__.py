"""llama.cpp's converter of adapters."""
