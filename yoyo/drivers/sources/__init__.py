"""Where artefacts come from: the hub, web servers, object stores, this machine."""
